"""Files of DVC's experiments, read from git by name; nothing is checked out or run."""

import json
from typing import Any

import dvc.api
from dvc.exceptions import DvcException
from dvc.scm import SCMError

from stages.config.mistakes import UserError


def read_text(experiment: str, path: str) -> str:
    """A file as it was in an experiment: a name, branch, tag or commit.

    Raises:
        UserError: There is no such experiment, or no such file in it.
    """
    try:
        return dvc.api.read(path, rev=experiment)
    except (DvcException, SCMError, OSError) as error:
        raise UserError(
            f"{experiment}: no {path} ({error}); `dvc exp show` lists the experiments"
        ) from None


def read_values(experiment: str, path: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """The values of some keys of a JSON file.

    Raises:
        UserError: The file is missing, is no JSON, or lacks a key.
    """
    try:
        values = json.loads(read_text(experiment, path))
        return {key: values[key] for key in keys}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{experiment}: {path} is not what `finetune` writes ({error}); run it again"
        ) from None


def check_distinct(experiments: tuple[str, ...]) -> None:
    """Refuse an experiment that is named twice.

    Raises:
        UserError: One is.
    """
    repeated = {name for name in experiments if experiments.count(name) > 1}
    if repeated:
        raise UserError(f"{', '.join(sorted(repeated))}: named twice")
