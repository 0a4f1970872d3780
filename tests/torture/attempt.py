"""One `dvc repro` that is killed at a chosen moment, or goes through."""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.micro_project import Project

BEFORE = "dvc"
"""What `dvc repro` does before its first stage: reads the pipeline and looks for changes."""
RUNNING = re.compile(r"Running stage '(.+)'")
DEATH_S = 30.0


class Attempt(NamedTuple):
    """What happened.

    Attributes:
        stage: The stage that was killed, or None where all went through.
        exit_code: Of `dvc repro`; -9 after a kill.
        lines: All that was written, in order.
        durations: Seconds of each stage that ended, DVC's saving of its files included.
    """

    stage: str | None
    exit_code: int
    lines: list[str]
    durations: dict[str, float]


def attempt(project: Project, choose_moment: Callable[[str], float | None]) -> Attempt:
    """Run `dvc repro`, and kill -9 its process group.

    Args:
        project: Where to run it.
        choose_moment: Asked at the start of each stage: after how many seconds of it to kill, or
            None to let the stage be.

    Raises:
        TimeoutError: A process outlived the kill.
    """
    process = project.start("dvc", "repro")
    written: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_collect, args=(process, written), daemon=True).start()
    stage, start, lines, durations = BEFORE, time.monotonic(), [], {}
    moment = choose_moment(stage)
    while True:
        try:
            rest = None if moment is None else max(0.0, start + moment - time.monotonic())
            line = written.get(timeout=rest)
        except queue.Empty:
            return Attempt(stage, *_kill(process, written, lines), durations)
        if line is None:
            durations[stage] = time.monotonic() - start
            return Attempt(None, process.wait(), lines, durations)
        lines.append(line)
        if found := RUNNING.match(line):
            durations[stage] = time.monotonic() - start
            stage, start = found[1], time.monotonic()
            moment = choose_moment(stage)


def _collect(process: subprocess.Popen, written: queue.Queue) -> None:
    """Pass on each line; None after the last process of the group has closed its end."""
    assert process.stdout
    for line in process.stdout:
        written.put(line.rstrip())
    written.put(None)


def _kill(
    process: subprocess.Popen, written: queue.Queue, lines: list[str]
) -> tuple[int, list[str]]:
    """Kill the group; its exit code, and the lines with those that were under way."""
    os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + DEATH_S
    while True:
        try:
            line = written.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"a process still writes {DEATH_S:g} s after the kill") from None
        if line is None:
            return process.wait(), lines
        lines.append(line)
