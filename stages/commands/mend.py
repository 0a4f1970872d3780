"""Remove what a kill left half-written of DVC's own state: `python -m stages.commands.mend`.

DVC 3.67 writes dvc.lock and .dvc/tmp/rwlock in place, over seconds and on each stage, and makes the
folder of a run-cache entry before the entry. Cut off or empty, they stop every later command. None
holds a result: without dvc.lock, `dvc repro` finds finished stages in its run-cache. `make repro`
calls this first.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import parse_yaml
from voluptuous import Invalid

from stages.config.mistakes import EDIT, UserError, refuse_conflict

CONFLICT_REMEDIES = {
    "params.yaml": EDIT,
    "dvc.yaml": EDIT,
    "dvc.lock": "take one side, then run what differs: "
    "`git checkout --theirs dvc.lock && dvc repro` (or --ours)",
}


def main() -> None:
    """Mend the current folder, and say what was removed."""
    try:
        mended = mend(Path())
    except UserError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
    for path in mended:
        sys.stderr.write(f"{path} was cut off by a kill; removed, `dvc repro` makes it again\n")


def mend(folder: Path) -> list[Path]:
    """Remove DVC's files that are not whole, and empty entries; their paths, in `folder`.

    Raises:
        UserError: A file that DVC reads is not cut off, but holds a merge conflict.
    """
    refuse_conflicts(folder)
    parsers: dict[Path, Callable[[str], Any]] = {
        Path("dvc.lock"): lambda text: COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, "dvc.lock")),
        Path(".dvc/tmp/rwlock"): json.loads,
    }
    broken = [path for path, parse in parsers.items() if _is_broken(folder / path, parse)]
    for path in broken:
        (folder / path).unlink()
    empty = [entry for entry in _list_run_cache(folder) if not any(entry.iterdir())]
    for entry in empty:
        entry.rmdir()
    return broken + [Path(os.path.relpath(entry, folder)) for entry in empty]


def refuse_conflicts(folder: Path) -> None:
    """Say how to mend files of two branches, both of which are whole: a line each."""
    problems = []
    for name, remedy in CONFLICT_REMEDIES.items():
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            refuse_conflict(text, Path(name), remedy)
        except FileNotFoundError:
            continue
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


def _list_run_cache(folder: Path) -> list[Path]:
    """The folders of its entries, wherever the cache is."""
    config = Config(str(folder / ".dvc"), validate=False)
    cache = Path(config["cache"].get("dir", folder / ".dvc/cache"))
    return sorted(cache.glob("runs/*/*/"))


def _is_broken(path: Path, parse: Callable[[str], Any]) -> bool:
    try:
        parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (DvcException, Invalid, ValueError):
        return True
    return False


if __name__ == "__main__":
    main()
