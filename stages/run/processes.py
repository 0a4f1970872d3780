"""The processes that run a stage together, as `accelerate launch` starts them; mostly just one.

Each knows its place from environment variables. Where there is one process, accelerate is not even
imported, and everything here hands back what it was given.
"""

import json
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

LAUNCHER = "ATTUNE_LAUNCHER_PID"
"""Set by `stages.run.launch` for the processes that it starts."""
SHARDED = "ATTUNE_SHARDED"
"""Set by it, too, where the config file says that they share out the weights that are trained."""
WATCH_S = 0.2
LONGEST_WAIT = timedelta(hours=6)
"""For the slowest process: of unequal GPUs the faster ones have nothing to do at the end."""


def is_launched() -> bool:
    """Whether a launcher started this process."""
    return "LOCAL_RANK" in os.environ or LAUNCHER in os.environ


def count_processes() -> int:
    """How many processes run this stage, over all machines."""
    return int(os.environ["WORLD_SIZE"]) if "LOCAL_RANK" in os.environ else 1


def count_local_processes() -> int:
    """How many of them run on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if "LOCAL_RANK" in os.environ else 1


def get_rank() -> int:
    """This process's number, from 0."""
    return int(os.environ["RANK"]) if "LOCAL_RANK" in os.environ else 0


def is_main_process() -> bool:
    """Whether this process is the one that writes outputs, shows progress and holds the lock."""
    return get_rank() == 0


def is_sharded() -> bool:
    """Whether each process holds a part of the weights that are trained, instead of all of them."""
    return SHARDED in os.environ and count_processes() > 1


def end_with_launcher() -> None:
    """End this process soon after its launcher, whatever the launcher died of.

    Without it, `kill -9` of the launcher would leave processes that go on and hold the stage.
    """
    if LAUNCHER in os.environ:
        threading.Thread(target=_watch, args=(int(os.environ[LAUNCHER]),), daemon=True).start()


def tell_launcher(text: str) -> None:
    """Leave what went wrong where torch's agent looks for it: other machines are told by it."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        message = {"message": text, "extraInfo": {"timestamp": int(time.time())}}
        Path(file).write_text(json.dumps({"message": message}), encoding="utf-8")


def join_processes() -> None:
    """Connect to the other processes, and take one's own GPU."""
    if count_processes() > 1:
        from accelerate import PartialState  # noqa: PLC0415
        from accelerate.utils import is_cuda_available  # noqa: PLC0415

        PartialState(cpu=not is_cuda_available(), timeout=LONGEST_WAIT)


def share_out(items: list[Item]) -> list[Item]:
    """This process's part of the main process's `items`: every n-th of them."""
    if count_processes() == 1:
        return items
    from accelerate.utils import broadcast_object_list  # noqa: PLC0415

    (agreed,) = broadcast_object_list([items])
    return agreed[get_rank() :: count_processes()]


def collect(items: list[Item]) -> list[Item]:
    """The items of all processes, those of process 0 first; known to each of them."""
    if count_processes() == 1:
        return items
    from accelerate.utils import gather_object  # noqa: PLC0415

    return gather_object(items)


def wait_for_all() -> None:
    """Go on when every process has come this far."""
    if count_processes() > 1:
        from accelerate import PartialState  # noqa: PLC0415

        PartialState().wait_for_everyone()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(WATCH_S)
    os._exit(1)
