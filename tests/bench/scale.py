"""What a picture costs in a run of 100, 1,000 and 10,000, and what a second process brings.

The stages run as whole processes in a project of their own. Costs of many pairs and pictures are
taken on a micro base with random weights: of the model's own time a picture takes the same in every
run, what may grow is all that stands around it.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.config import paths
from stages.files.tables import write_table
from stages.prepare import take_no_pictures
from tests.bench.turns import Round
from tests.tiny import build_scorer
from tests.unit.stable_diffusion_project import build_project, edit_params

ROOT = Path(__file__).parents[2]
NUM_ROUNDS, NUM_PICTURES = 3, 64
NUM_PROMPTS = 56
"""In params.yaml."""
SECONDS = re.compile(r"^\w+(?: \w+)?: ([0-9.]+) s$", re.MULTILINE)
RSS = re.compile(r"RssAnon:\s+(\d+) kB")
STAGES = (
    ("prepare",),
    ("embed",),
    ("encode",),
    ("finetune",),
    *((stage, variant) for stage in ("sample", "score") for variant in paths.VARIANTS),
    ("compare",),
    ("preference",),
    ("report",),
)


class Cost(NamedTuple):
    """Of a run of a stage: its seconds without imports, and the most memory of its own."""

    stage: str
    num_pictures: int
    seconds: float
    peak_memory_mib: float

    def __str__(self) -> str:
        a_picture = 1000 * self.seconds / self.num_pictures
        return (
            f"| {self.stage} | {self.num_pictures:,} | {self.seconds:.1f} | {a_picture:.1f} "
            f"| {self.peak_memory_mib:.0f} |"
        )


def measure_scale(folder: Path, counts: tuple[int, ...] = (100, 1_000, 10_000)) -> list[Cost]:
    """Make so many pairs and pictures, each of a prompt of its own."""
    build_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    a_prompt = {"images_per_in_domain_prompt": 1, "images_per_marketing_prompt": 1}
    edit_params(folder, "sample", num_inference_steps=1, batch_size=50, **a_prompt)
    edit_params(folder, "prompts", added_class_templates=[], added_marketing=[])
    costs = []
    for count in counts:
        edit_params(folder, "prepare", num_pairs=count - 10, num_validation_pairs=10)
        write_prompts(folder, count)
        for stage in STAGES:
            costs.append(Cost(" ".join(stage), count, *_run(folder, *stage)))
            sys.stdout.write(f"{costs[-1]}\n")
            sys.stdout.flush()
    return costs


def write_prompts(folder: Path, count: int) -> None:
    """As many prompts as there are to be, with those of params.yaml, into the file beside them."""
    rest = range(count - NUM_PROMPTS)
    rows = {
        "set": "in_domain",
        "class": "cat",
        "prompt": [f"a cat with {number} legs" for number in rest],
    }
    write_table(pd.DataFrame(rows), folder / "data/extra_prompts.csv")


def measure_processes(folder: Path) -> list[Round]:
    """Seconds of sampling with the tiny base: one process with two threads, two with one each."""
    (folder / "models").mkdir(parents=True)
    (folder / "models/tiny").symlink_to(ROOT / "models/tiny")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    edit_params(folder, "sample", images_per_in_domain_prompt=NUM_PICTURES, batch_size=8)
    prompt = {
        "prompt_id": ["cat"],
        "set": "in_domain",
        "class": "cat",
        "prompt": "a photo of a cat",
        "finetuned_prompt": "a photo of a cat",
        "protocol": "paper",
    }
    write_table(pd.DataFrame(prompt), folder / paths.PROMPTS)
    with contextlib.chdir(folder):
        take_no_pictures()
    rounds = []
    for _ in range(NUM_ROUNDS):
        seconds = []
        for num_processes in (1, 2):
            subprocess.run(["rm", "-rf", folder / paths.SCRATCH], check=True)
            edit_params(folder, "launch", num_processes=num_processes)
            seconds.append(_run(folder, "sample", "baseline")[0])
        rounds.append(Round(*seconds))
    return rounds


def _run(folder: Path, stage: str, *args: str) -> tuple[float, float]:
    """The seconds that a stage says it took, and the most memory of its process in MiB.

    Pages of mapped files don't count: the system takes them back when it needs them.
    """
    with (
        subprocess.Popen(
            [sys.executable, "-m", "stages.run.launch", stage, *args],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        peak = pool.submit(_watch_memory, process.pid)
        _, output = process.communicate()
    if process.returncode:
        raise RuntimeError(output)
    found = SECONDS.search(output)
    return float(found[1]) if found else 0.0, peak.result()


def _watch_memory(pid: int) -> float:
    """The most that a process holds for itself until it ends, in MiB; of Linux alone."""
    peak = 0
    with contextlib.suppress(OSError):  # it has ended
        while found := RSS.search(Path(f"/proc/{pid}/status").read_text()):
            peak = max(peak, int(found[1]))
            time.sleep(0.02)
    return peak / 2**10
