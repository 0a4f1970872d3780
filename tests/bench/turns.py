"""Time two alternatives by turns, each in a process of its own.

By turns, so that a busy machine slows both; in processes of their own, so that neither gets the
other's settings of threads and memory.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple


class Round(NamedTuple):
    """Seconds of the same work done either way."""

    usual: float
    ours: float


def measure_by_turns(
    usual: Callable[[], float], ours: Callable[[], float], num_rounds: int
) -> list[Round]:
    """Call both so often, after a first time that does not count: it loads and warms up.

    Args:
        usual: Importable; does the work as users of the libraries do, and returns seconds.
        ours: Likewise, as the stages do it.
        num_rounds: Rounds that count.
    """
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as usual_process,
        ProcessPoolExecutor(1, mp_context=spawn) as our_process,
    ):
        rounds = [
            Round(usual_process.submit(usual).result(), our_process.submit(ours).result())
            for _ in range(num_rounds + 1)
        ]
    return rounds[1:]
