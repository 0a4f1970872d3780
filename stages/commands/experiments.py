"""Files of DVC's experiments, read from git and DVC's cache; nothing is checked out or run."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError

from stages.config.mistakes import UserError
from stages.config.params import PARAMS, Params, parse_params
from stages.files.tables import Schema, parse_csv, parse_json

EXPERIMENTS, OTHERS = "refs/exps/", ("refs/heads/", "refs/tags/")
SAME_BASE = {"model", "revision", "weights_variant", "resolution_px"}
"""Keys of the chosen base on which its pictures depend."""


def read_text(experiment: str, path: object) -> str:
    """A file as it was in an experiment: a name, branch, tag or commit.

    Raises:
        UserError: There is no such experiment, or no such file in it, or several have that name.
    """
    with _open(experiment, path, "r") as file:
        return file.read()


def copy_file(experiment: str, path: object, target: Path) -> None:
    """Copy a file as it was in an experiment, of any size; errors as `read_text`."""
    with _open(experiment, path, "rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy)


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


def check_same(params: dict[str, Params], keep: Callable[[Params], dict[str, Any]]) -> None:
    """Refuse experiments that differ in what `keep` keeps of their params.

    Raises:
        UserError: Two do; the key and both values.
    """
    first, *others = params
    kept = {name: _flatten(keep(values)) for name, values in params.items()}
    for name in others:
        for key in {**kept[first], **kept[name]}:
            ours, theirs = (kept[who].get(key) for who in (first, name))
            if ours != theirs:
                raise UserError(
                    f"{name}: {key} is {theirs}, in {first} it is {ours}; to compare them, run one "
                    "again with the other's value"
                )


def keep_sampled(params: Params) -> dict[str, Any]:
    """The params on which prompts, noise and pictures of the base depend."""
    values = params.model_dump(by_alias=True, include={"base", "prompts", "sample"})
    values["pictures.baseline"] = params.pictures.baseline
    values["prepare.classes"] = params.prepare.classes
    values[f"bases.{params.base}"] = params.chosen.model_dump(include=SAME_BASE)
    return values


@contextmanager
def _open(experiment: str, path: object, mode: str) -> Iterator[IO]:
    folder, named = _list_names()
    refs = named.get(experiment, {})
    if len(refs) > 1:
        raise UserError(
            f"{experiment}: is the name of {' and '.join(refs)}; name a commit, as "
            "`git rev-parse REF` gives it, or rename the branch or tag"
        )
    rev = next(iter(refs.values()), experiment)
    with ExitStack() as stack:
        try:
            opened = dvc.api.open(f"{folder}{path}", rev=rev, mode=mode)
            file = stack.enter_context(opened)
        except (DvcException, SCMError, OSError) as error:
            raise UserError(
                f"{experiment}: no {path} ({error}); `dvc exp show` lists the experiments, and "
                f"`dvc pull --rev {experiment}` gets results that were shared"
            ) from None
        yield file


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


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flatten(value) if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{name}".rstrip("."): item for name, item in inner.items()}
    return flat
