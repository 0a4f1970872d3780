"""Which picture of a study's page is whose: data/study/key.csv, a row a trial."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Literal

import pandas as pd

from stages.config.mistakes import UserError

BASELINE = "baseline"
Kind = Literal["pair", "repeat", "equal", "destroyed"]
"""`pair` is what the study is about. The others check the raters: a pair that comes back with its
sides swapped, a picture beside itself, and one beside what is left of it."""
NOBODY = ""
"""Whose a destroyed picture is."""
KEY_SCHEMA = dict.fromkeys(
    [
        *("study", "trial", "kind", "file_name", "prompt_id", "set", "class"),
        *("a", "b", "arm_a", "arm_b", "digest_a", "digest_b"),
    ],
    "str",
)
"""`a` and `b` are what the page calls the pictures; `digest_a` and `digest_b` are of their PNG
files. A repeat has its pair's pictures."""


def read_key(path: Path) -> pd.DataFrame:
    """Read the key of the one study that a folder has.

    Raises:
        UserError: It is missing, or was changed since.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; without it nobody knows whose the votes are: commit it")
    try:
        key = pd.read_csv(path, dtype="str", keep_default_na=False)
        is_whole = list(key) == list(KEY_SCHEMA) and set(key["study"]) == {name_study(key)}
    except ValueError:
        is_whole = False
    if not is_whole:
        raise UserError(
            f"{path}: was changed since `make study` wrote it; `git checkout {path}` brings it back"
        )
    return key


def name_study(key: pd.DataFrame) -> str:
    """The study's id: a digest of whose its pictures are and of the pictures; 12 hex digits."""
    rows = key[[name for name in KEY_SCHEMA if name != "study"]]
    return digest(rows.to_csv(index=False, lineterminator="\n").encode())[:12]


def digest(data: bytes) -> str:
    """Of a picture's file, 32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def list_arms(key: pd.DataFrame) -> list[str]:
    """Whose pictures are compared, in alphabetical order but for the baseline, which is first."""
    arms = {*key["arm_a"], *key["arm_b"]} - {NOBODY}
    return sorted(arms, key=lambda arm: (arm != BASELINE, arm))


def find_roles(key: pd.DataFrame, files: Mapping[str, Mapping[str, bytes]]) -> dict[str, str]:
    """Which arm of a study each variant of this run is; empty where its pictures are others.

    Args:
        key: As `read_key` gives it.
        files: Of both variants, the pictures by file name.
    """
    arms = list_arms(key)
    shown = _list_digests(key)
    present = {
        variant: {name: digest(named[name]) for name in key["file_name"].unique() if name in named}
        for variant, named in files.items()
    }
    for order in permutations(arms) if len(arms) == len(files) else ():
        roles = dict(zip(files, order, strict=True))
        if all(
            present[variant].get(name) == found
            for variant, arm in roles.items()
            for name, found in shown[arm].items()
        ):
            return roles
    return {}


def _list_digests(key: pd.DataFrame) -> dict[str, dict[str, str]]:
    """By arm, the digest of each file that is shown."""
    shown: dict[str, dict[str, str]] = {}
    for arm, name, found in _list_pictures(key):
        shown.setdefault(arm, {})[name] = found
    return shown


def _list_pictures(key: pd.DataFrame) -> Iterable[tuple[str, str, str]]:
    for side in ("a", "b"):
        yield from zip(key[f"arm_{side}"], key["file_name"], key[f"digest_{side}"], strict=True)
