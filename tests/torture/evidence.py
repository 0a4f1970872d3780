"""What a project holds: its final bytes, and unfinished work that must not be done again."""

import hashlib
import json
import re
import shutil
from pathlib import Path

from safetensors import safe_open

from tests.micro_project import Project

RESULTS = ("data", "metrics", "models/finetuned", "plots")
WALL_CLOCK = re.compile(
    r'"(?:steps_per_second|peak_memory_mib)": [^,\n]+|<dt>(?:training|memory)</dt><dd>.*?</dd>'
)
"""Figures that no two runs share, in metrics/finetune.json and in the report."""
RESUMED = re.compile(r"(finetune|sample): goes on after (?:step )?(\d+)")


def hash_results(project: Project) -> dict[str, str]:
    """The digest of each output, by its path; wall-clock figures aside."""
    return {
        str(file.relative_to(project.folder)): hashlib.sha256(_strip(file)).hexdigest()
        for folder in RESULTS
        for file in sorted((project.folder / folder).rglob("*"))
        if file.is_file() and file.name != ".gitignore"
    }


def compare_results(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """A line for each file that is missing, new or different."""
    lines = [f"{name} is missing" for name in expected.keys() - found.keys()]
    lines += [f"{name} is new" for name in found.keys() - expected.keys()]
    shared = expected.keys() & found.keys()
    return sorted(lines + [f"{name} differs" for name in shared if expected[name] != found[name]])


def clear(project: Project) -> None:
    """Remove every result, all unfinished work and DVC's memory of them."""
    for name in [*hash_results(project), "dvc.lock"]:
        (project.folder / name).unlink(missing_ok=True)
    for name in ("scratch", ".dvc/cache", ".dvc/tmp", "models/finetuned", "data/samples"):
        shutil.rmtree(project.folder / name, ignore_errors=True)


def count_done(project: Project, stage: str) -> int:
    """Training steps in the checkpoint, or pictures in finished batches, that wait in scratch/."""
    if stage == "finetune":
        return sum(_count_steps(file) for file in _find(project, "finetune/*/*.safetensors"))
    if stage.startswith("sample@"):
        batches = _find(project, f"{stage}/*/batch_*.json")
        return sum(len(json.loads(file.read_text())["is_finite"]) for file in batches)
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
    if file.suffix not in (".json", ".html"):
        return data
    return WALL_CLOCK.sub("", data.decode()).encode()
