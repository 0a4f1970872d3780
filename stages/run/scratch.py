"""scratch/STAGE/HASH/: unfinished work, so that a run that was killed goes on where it was.

HASH stands for all that the work depends on, the code included: other params or inputs find
another, empty folder. What is finished stays until another stage starts: only then has DVC saved
what it became, and a kill before that would cost all of it.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stages.config import paths
from stages.config.mistakes import UserError

MARK = "finished"


def hash_code() -> str:
    """The SHA-256 of all modules of ours that are loaded: the code of the stage that asks."""
    files = {
        Path(file)
        for name, module in sys.modules.items()
        if name == "__main__" or name.startswith("stages.")
        if (file := getattr(module, "__file__", None))
    }
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@contextmanager
def hold_stage(stage: str) -> Iterator[None]:
    """Keep a second process of the same stage out of this folder; a process that dies lets go.

    DVC refuses a second `dvc repro` itself, but a `dvc repro` that was killed can leave its stage
    running.

    Raises:
        UserError: Another process runs this stage here.
    """
    lock = FileLock(paths.SCRATCH / f"{stage}.lock", timeout=0)
    paths.SCRATCH.mkdir(exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{stage} is already running in this folder; wait for it, or end its process"
        ) from None
    with lock:
        yield


@contextmanager
def use_folder(name: str) -> Iterator[Path]:
    """An empty folder for what may be larger than the memory; removed at the end.

    What a kill leaves there is removed by the next use of that name.
    """
    folder = paths.SCRATCH / "spill" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mark_finished(folder: Path) -> None:
    """Say that the work in `folder` has become the stage's outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def remove_finished(stage: str) -> None:
    """Remove what other stages than `stage` have finished: DVC has saved their outputs by now."""
    for mark in paths.SCRATCH.glob(f"*/*/{MARK}"):
        if mark.parent.parent.name != stage:
            shutil.rmtree(mark.parent, ignore_errors=True)
