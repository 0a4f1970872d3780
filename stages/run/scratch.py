"""scratch/STAGE/HASH/: unfinished work, so that a run that was killed goes on where it was.

HASH stands for all that the work depends on, the code included: other params or inputs find
another, empty folder. What is finished stays until DVC has saved what it became: a kill before that
would cost all of it. Afterwards it is removed, so that a forced run computes.
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


def mark_finished(folder: Path, cost: Path) -> None:
    """Say that the work in `folder` has become the stage's outputs.

    `cost` is one of them. It holds times, so no two runs write the same: once its hash stands in
    dvc.lock, DVC has saved this run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(hashlib.md5(cost.read_bytes()).hexdigest(), encoding="utf-8")


def remove_finished(stage: str) -> None:
    """Remove finished work that DVC has saved: that of other stages than `stage`, and its own."""
    lock = Path("dvc.lock").read_bytes() if Path("dvc.lock").is_file() else b""
    for mark in paths.SCRATCH.glob(f"*/*/{MARK}"):
        if mark.parent.parent.name != stage or mark.read_bytes() in lock:
            shutil.rmtree(mark.parent, ignore_errors=True)
