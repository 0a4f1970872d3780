"""Remove what a kill left half-written of DVC's own state: `python -m stages.mend`.

DVC 3.67 writes dvc.lock and .dvc/tmp/rwlock in place, over seconds and on each stage. Cut off, they
stop every later command. Neither holds a result: without dvc.lock, `dvc repro` finds finished
stages in its run-cache. `make repro` calls this first.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import parse_yaml
from voluptuous import Invalid


def main() -> None:
    """Mend the current folder, and say what was removed."""
    for path in mend(Path()):
        sys.stderr.write(f"{path} was cut off by a kill; removed, `dvc repro` makes it again\n")


def mend(folder: Path) -> list[Path]:
    """Remove DVC's files that are not whole; their paths in `folder`."""
    parsers: dict[Path, Callable[[str], Any]] = {
        Path("dvc.lock"): lambda text: COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, "dvc.lock")),
        Path(".dvc/tmp/rwlock"): json.loads,
    }
    broken = [path for path, parse in parsers.items() if _is_broken(folder / path, parse)]
    for path in broken:
        (folder / path).unlink()
    return broken


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
