"""Files of DVC's experiments, read from git and DVC's cache; nothing is checked out or run."""

import io
import os

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError

from stages.config.mistakes import UserError
from stages.config.params import PARAMS, Params, parse_params
from stages.files.tables import Schema, parse_csv, parse_json

EXPERIMENTS, OTHERS = "refs/exps/", ("refs/heads/", "refs/tags/")


def read_text(experiment: str, path: object) -> str:
    """A file as it was in an experiment: a name, branch, tag or commit.

    Raises:
        UserError: There is no such experiment, or no such file in it, or several have that name.
    """
    folder, named = _list_names()
    refs = named.get(experiment, {})
    if len(refs) > 1:
        raise UserError(
            f"{experiment}: is the name of {' and '.join(refs)}; name a commit, as "
            "`git rev-parse REF` gives it, or rename the branch or tag"
        )
    try:
        return dvc.api.read(f"{folder}{path}", rev=next(iter(refs.values()), experiment))
    except (DvcException, SCMError, OSError) as error:
        raise UserError(
            f"{experiment}: no {path} ({error}); `dvc exp show` lists the experiments, and `dvc "
            f"pull --rev {experiment}` gets results that were shared"
        ) from None


def read_params(experiment: str) -> Params:
    """An experiment's params."""
    return parse_params(read_text(experiment, PARAMS))


def read_table(experiment: str, path: object, schema: Schema, stage: str) -> pd.DataFrame:
    """A CSV of an experiment, as `read_csv` reads one."""
    text = io.StringIO(read_text(experiment, path))
    return parse_csv(text, schema, f"{experiment}:{path}", stage)


def read_values(experiment: str, path: object, stage: str) -> dict:
    """A JSON file of an experiment, as `read_json` reads one."""
    return parse_json(read_text(experiment, path), f"{experiment}:{path}", stage)


def check_distinct(experiments: tuple[str, ...]) -> None:
    """Refuse an experiment that is named twice, and none at all.

    Raises:
        UserError: One is.
    """
    if not experiments:
        raise UserError('name experiments, as in EXPERIMENTS="attn2 lora"; `dvc exp show` has them')
    repeated = {name for name in experiments if experiments.count(name) > 1}
    if repeated:
        raise UserError(f"{', '.join(sorted(repeated))}: named twice")


def _list_names() -> tuple[str, dict[str, dict[str, str]]]:
    """Where the project lies in its repository; for each short name git's references to commits.

    A branch would otherwise be read in the place of an experiment of its name, without a word.
    """
    with Repo() as repo:
        inside = os.path.relpath(repo.root_dir, repo.scm.root_dir)
        named: dict[str, dict[str, str]] = {}
        for ref in repo.scm.iter_refs():
            if ref.startswith((EXPERIMENTS, *OTHERS)):
                parts = ref.split("/", 4 if ref.startswith(EXPERIMENTS) else 2)
                named.setdefault(parts[-1], {})[ref] = repo.scm.get_ref(ref)
    return "" if inside == os.curdir else f"{inside}/", named
