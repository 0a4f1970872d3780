"""Run a stage in processes of the CPU, as the launcher would start them, but imported already."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
MODULES = ["embed", "encode", "finetune", "sample", "score"]
CONTEXT.set_forkserver_preload([f"stages.{name}" for name in MODULES])


def run_processes(
    folder: Path, count: int, main: Callable[..., None], *args: str, **environment: str
) -> None:
    """Run a stage's `main(*args)` in so many processes to its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        CONTEXT.Process(
            target=run_here, args=(folder, (rank, count, port), environment, main, *args)
        )
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


def run_here(
    folder: Path,
    place: tuple[int, int, int],
    environment: dict[str, str],
    main: Callable[..., None],
    *args: str,
) -> None:
    os.chdir(folder)
    rank, count, port = place
    if count > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"OMP_NUM_THREADS": "1"} | environment
    main(*args)
