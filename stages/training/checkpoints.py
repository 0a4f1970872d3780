"""Checkpoints beside training: it waits for a copy of its state, and not for the disk."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from torch import Tensor

from stages.files.tensors import write_tensors
from stages.run.processes import is_main_process

LARGEST_PART = 0.03
"""Of training's time, for checkpoints."""
SHORT_S = 0.1
"""A wait that is never too long."""


class CheckpointWriter:
    """Writes checkpoints to one file, one at a time, in a thread of its own.

    What goes wrong there is raised by the next `write`, or by `finish`.
    """

    def __init__(self, path: Path, note_progress: Callable[[], object] = lambda: None) -> None:
        """`note_progress` is called, in that thread, whenever a checkpoint has been saved."""
        self._path, self._note_progress = path, note_progress
        self._workers = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._end_s, self.waited_s = time.perf_counter(), 0.0

    def __enter__(self) -> Self:
        """Take checkpoints from now on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until the last one is saved."""
        self._workers.shutdown()

    def is_affordable(self) -> bool:
        """Whether as long a wait as for the last one would be a small part of the time since."""
        since_s = time.perf_counter() - self._end_s
        return self.waited_s <= max(SHORT_S, LARGEST_PART * since_s)

    def write(self, pack: Callable[[], Mapping[str, Tensor]]) -> None:
        """Save what `pack` returns, as it is now; all processes call this together."""
        start_s = time.perf_counter()
        self.finish()
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in pack().items()}
        if is_main_process():
            self._writing = self._workers.submit(self._save, copies)
        self._end_s = time.perf_counter()
        self.waited_s = self._end_s - start_s

    def finish(self) -> None:
        """Wait until what was given is saved."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _save(self, tensors: Mapping[str, Tensor]) -> None:
        write_tensors(self._path, tensors)
        self._note_progress()
