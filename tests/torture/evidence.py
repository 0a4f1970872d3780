"""What a project holds: its final bytes, and unfinished work that must not be done again."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
from safetensors import safe_open

from tests.micro_project import Project

RESULTS = ("data", "metrics", "models/finetuned", "plots")
INPUTS = (".gitignore", "extra_prompts.csv", "README.md")
"""What lies there and is no result."""
COSTS = ("plots/data/cost_", "metrics/cost.json")
"""What no two runs share."""
SHOWN_COSTS = re.compile(
    r"<dt>(?:training|sampling|memory|energy[^<]*)</dt><dd>.*?</dd>"
    r"|Training took .*? sampling [^.]*"
)
"""The same in plots/report.html and plots/report.md."""
SHOWN = 60
"""Bytes on either side of a difference."""
RESUMED = re.compile(r"(finetune|sample): goes on after (?:step )?(\d+)")


def read_results(folder: Path) -> dict[str, bytes]:
    """What each output in the folder of a project holds, by its path; what it cost aside."""
    return {
        str(file.relative_to(folder)): _strip(file)
        for name in RESULTS
        for file in sorted((folder / name).rglob("*"))
        if file.is_file() and file.name not in INPUTS
        if not str(file.relative_to(folder)).startswith(COSTS)
    }


def compare_results(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """A line for each file that is missing, new or different."""
    lines = [f"{name} is missing" for name in expected.keys() - found.keys()]
    lines += [f"{name} is new" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        if expected[name] != found[name]:
            lines.append(f"{name} differs: {_show_difference(expected[name], found[name])}")
    return sorted(lines)


def _show_difference(expected: bytes, found: bytes) -> str:
    """Both sides about the first byte that differs."""
    pairs = zip(expected, found, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))
    around = slice(max(0, at - SHOWN), at + SHOWN)
    return f"at byte {at}, {expected[around]!r} became {found[around]!r}"


def clear(project: Project) -> None:
    """Remove every result, all unfinished work and DVC's memory of them."""
    for name in [*read_results(project.folder), "metrics/cost.json", "dvc.lock"]:
        (project.folder / name).unlink(missing_ok=True)
    unfinished = ("scratch", ".dvc/cache", ".dvc/tmp")
    for name in (*unfinished, "models/finetuned", "data/samples"):
        shutil.rmtree(project.folder / name, ignore_errors=True)


def count_done(project: Project, stage: str) -> int:
    """Training steps in the checkpoint, or pictures in finished batches, that wait in scratch/."""
    if stage == "finetune":
        return sum(_count_steps(file) for file in _find(project, "finetune/*/*.safetensors"))
    if stage.startswith("sample@"):
        if _find(project, f"{stage}/*/pictures.parquet"):
            return 0  # all are done: batches are being removed, and nothing goes on
        batches = _find(project, f"{stage}/*/batch_*.parquet")
        return sum(pq.read_metadata(file).num_rows for file in batches)
    return 0


def read_resumed(lines: list[str]) -> int:
    """How many steps or pictures the last stage of some output said it need not do again."""
    return next((int(found[2]) for line in reversed(lines) if (found := RESUMED.search(line))), 0)


def _find(project: Project, pattern: str) -> list[Path]:
    return sorted((project.folder / "scratch").glob(pattern))


def _count_steps(checkpoint: Path) -> int:
    with safe_open(checkpoint, "pt") as tensors:
        return tensors.get_slice("steps").get_shape()[0]


def _strip(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix not in (".html", ".md"):
        return data
    return SHOWN_COSTS.sub("", data.decode()).encode()
