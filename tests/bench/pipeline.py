"""Whole processes: `dvc repro` in a fresh clone, again, and after a change in scoring."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple


class PipelineCost(NamedTuple):
    """Seconds of three runs, and the peak resident memory of the largest process."""

    first: float
    again: float
    rescore: float
    peak_memory_gb: float


def measure_pipeline(clone: Path) -> PipelineCost:
    """Clone the project to `clone` and run it there with its default params."""
    run(Path.cwd(), "git", "clone", "--quiet", str(Path.cwd()), str(clone))
    first = run(clone, "dvc", "repro")
    again = min(run(clone, "dvc", "repro") for _ in range(3))
    params = clone / "params.yaml"
    old, new = "zero_shot_template: a photo of a {}", "zero_shot_template: a picture of a {}"
    text = params.read_text()
    if old not in text:
        raise ValueError(f"{params} has no line {old!r} to change")
    params.write_text(text.replace(old, new))
    rescore = run(clone, "dvc", "repro")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6  # Linux: KiB
    return PipelineCost(first, again, rescore, peak)


def run(folder: Path, *command: str) -> float:
    """Seconds that a command takes in `folder`, with this environment on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True)
    return time.perf_counter() - started
