"""Check params.yaml before any other stage starts, and look whether the sources have changed.

DVC removes what a stage wrote before it runs it again. So a mistake must be found by a stage of
its own, on which all others depend: then earlier results stay as they were. It runs each time, as
DVC cannot watch the sources itself. Reads params.yaml and which files lie under the sources; writes
data/checked.json, which changes only with those files.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from stages.config import paths
from stages.config.params import PARAMS, load_params
from stages.run.entry import run_stage
from stages.run.inputs import require_files
from stages.sources.watching import watch_sources


def main() -> None:
    """Leave the mark of valid params with a digest of the sources, or name every mistake."""
    let_git_see(PARAMS)
    params = load_params()
    require_files(params)
    watched = watch_sources(params, read_earlier())
    paths.CHECKED.write_text(json.dumps(watched, indent=2) + "\n", encoding="utf-8")


def let_git_see(path: Path) -> None:
    """Give a file another time, in whole seconds, than that at which git may have looked at it.

    `dvc exp run -S` edits params.yaml in the second in which git's index notes its time and size,
    and comments keep the size. git then takes it for unchanged, and `git checkout` leaves it so.
    """
    with suppress(OSError):  # a file of somebody else
        time_s = max(time.time(), path.stat().st_mtime + 1)
        os.utime(path, (time_s, time_s))


def read_earlier() -> dict[str, dict]:
    """What was written the last time; empty if there is nothing, or nothing whole."""
    try:
        return json.loads(paths.CHECKED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    run_stage(main)
