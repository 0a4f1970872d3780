"""Ctrl-C at a moment of our choice: between two steps, when what is done can be saved."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from stages.run.processes import is_launched

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what a batch system sends some time before it kills."""
LAUNCHED_SIGNALS = (signal.SIGINT,)
"""A launcher passes on both as the first; by SIGTERM it ends us because another process failed."""


@contextmanager
def defer_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first interrupt, a second one acts at once; gives: has there been one?

    Only for the main thread: Python lets no other one set what a signal does.
    """
    seen: list[int] = []
    signals = LAUNCHED_SIGNALS if is_launched() else SIGNALS
    before = {name: signal.getsignal(name) for name in signals}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        seen.append(number)
        restore()

    def restore() -> None:
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in signals:
        signal.signal(name, note)
    try:
        yield lambda: bool(seen)
    finally:
        restore()
