"""`make bench`: speed and memory against the bars of the README, each beside what was measured.

Ratios are taken against an alternative in the same run, by turns: a busy machine slows both.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tests.bench.evidence import measure_evidence
from tests.bench.memory import list_accounts
from tests.bench.pipeline import measure_pipeline
from tests.bench.precision import describe_precision
from tests.bench.sampling import measure_sampling
from tests.bench.scale import measure_processes, measure_scale
from tests.bench.stable_diffusion import describe_stable_diffusion
from tests.bench.training import measure_checkpoints, measure_training
from tests.bench.turns import Round

DESCRIPTIONS = {
    "memory": list_accounts,
    "precision": describe_precision,
    "stable_diffusion": describe_stable_diffusion,
}
DEFAULT_PARTS = ("sampling", "training", "pipeline")
PARTS = (*DEFAULT_PARTS, "processes", "scale")


class Row(NamedTuple):
    """One line of the table: a measured value and the bar it stands against."""

    what: str
    measured: float
    bar: float
    unit: str
    is_floor: bool

    def __str__(self) -> str:
        sign = "≥" if self.is_floor else "≤"
        is_met = self.measured >= self.bar if self.is_floor else self.measured <= self.bar
        verdict = "met" if is_met else "NOT MET"
        return (
            f"| {self.what} | {sign} {self.bar:g} {self.unit} | {self.measured:.3g} {self.unit} "
            f"| {verdict} |"
        )


def main() -> None:
    """Print the table; `python -m tests.bench sampling training` measures only those.

    `processes` and `scale` are measured when they are asked for: see docs/scaling.md.
    `python -m tests.bench memory`, `precision` and `stable_diffusion` print what docs/benchmarks.md
    shows.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    known = (*PARTS, *DESCRIPTIONS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(known)}")
    parts = parser.parse_args().parts or DEFAULT_PARTS
    if unknown := set(parts) - set(known):
        parser.error(f"{', '.join(unknown)}: unknown; the parts are {', '.join(known)}")
    for part, describe in DESCRIPTIONS.items():
        if part in parts:
            sys.stdout.write("\n".join(describe()) + "\n")
    if set(PARTS) & set(parts):
        sys.stdout.write("\n".join(measure_table(parts)) + "\n")


def measure_table(parts: Collection[str]) -> list[str]:
    """Lines of the table of what was measured, of `parts` those that are in `PARTS`."""
    rows = []
    if "sampling" in parts:
        ratio = compare_rounds("sampling a picture", measure_sampling())
        rows.append(
            Row("sampling against one call of the pipeline a picture", ratio, 3.5, "x", True)
        )
    if "training" in parts:
        ratio = compare_rounds("training a step", measure_training())
        rows.append(Row("an attn2 step against diffusers' usual step", ratio, 2.0, "x", True))
        with tempfile.TemporaryDirectory() as folder:
            percent = 100 * measure_checkpoints(Path(folder))
        rows.append(Row("checkpoints, of training's time", percent, 3, "%", False))
    if "pipeline" in parts:
        with tempfile.TemporaryDirectory() as folder:
            clone = Path(folder, "clone")
            cost = measure_pipeline(clone)
            evidence = measure_evidence(clone)
        rows += [
            Row("`dvc repro` from a fresh clone", cost.first / 60, 6, "min", False),
            Row("the same again, nothing changed", cost.again, 2.5, "s", False),
            Row("after a change in scoring alone", cost.rescore, 30, "s", False),
            Row("peak memory of any stage", cost.peak_memory_gb, 3, "GB", False),
            Row("compare and report, 2 x 480 pictures", evidence, 20, "s", False),
        ]
    if "processes" in parts:
        with tempfile.TemporaryDirectory() as folder:
            ratio = compare_rounds("sampling in two processes", measure_processes(Path(folder)))
        rows.append(Row("sampling in two processes against two threads", ratio, 1.0, "x", True))
    if "scale" in parts:
        with tempfile.TemporaryDirectory() as folder:
            measure_scale(Path(folder))
    threads = torch.get_num_threads()
    return [
        f"{threads} CPU threads, torch {torch.__version__}",
        "",
        "| what | bar | measured | |",
        "| --- | --- | --- | --- |",
        *map(str, rows),
    ]


def compare_rounds(what: str, rounds: Sequence[Round]) -> float:
    """Say each round's seconds and ratio; the median ratio."""
    for usual, ours in rounds:
        sys.stdout.write(
            f"{what}: {usual:.3f} s as usual, {ours:.3f} s ours, {usual / ours:.2f}x\n"
        )
    return statistics.median(usual / ours for usual, ours in rounds)


if __name__ == "__main__":
    main()
