"""Who may import whom: STYLE of the folders under stages/, read from the syntax trees."""

import ast
from pathlib import Path

import pytest

from tests.pipeline.imports import find_closure, find_imports

FOUNDATION = {"config", "files", "run"}
MODEL = ("base", "sampling", "adapters", "training")
"""Each stands on those before it."""
LIBRARY: dict[str, set[str]] = {
    "config": set(),
    "files": {"config"},
    "run": {"config", "files"},
    **{name: FOUNDATION.union(MODEL[:place]) for place, name in enumerate(MODEL)},
    **dict.fromkeys(("sources", "scoring", "analysis", "study"), FOUNDATION),
    "reporting": {*FOUNDATION, "analysis"},  # whose tables it draws
}
"""The folders that each folder of the library may import."""
PROGRAMS = ("commands", "tiny")
"""What is run beside the stages: like a stage, it may import the library and nothing else."""
LIBRARY_HOMES = {
    "torch": (
        *(f"stages/{name}" for name in MODEL),
        "stages/scoring",
        "stages/files/tensors.py",
        "stages/score.py",
        "stages/run/launch.py",  # its processes are watched by torch's agent
        "stages/run/cost.py",  # whether there is a GPU
        "stages/run/peaks.py",  # its peak memory
        "stages/commands/needs.py",  # a GPU's free memory
        "stages/commands/measured.py",  # weights without values
        "stages/tiny",
    ),
    "plotly": ("stages/reporting",),
    "open_clip": (
        "stages/scoring",
        "stages/files/clip_files.py",
        "stages/sampling/clip_guidance.py",
        "stages/tiny",
    ),
    "evalica": ("stages/analysis/strengths.py",),  # installed for `make votes` alone
    "ruamel": ("stages/config/params.py",),
}
FILES = sorted(Path("stages").rglob("*.py"))


def test_each_folder_has_its_place():
    folders = {path.parts[1] for path in FILES if len(path.parts) > 2}
    assert folders == {*LIBRARY, *PROGRAMS}


def test_imports_point_down():
    assert [
        f"{path} imports {imported}"
        for path in FILES
        for imported in find_imports(path)
        if _name(imported) not in _list_allowed(path)
    ] == []


@pytest.mark.parametrize("library", LIBRARY_HOMES)
def test_a_heavy_library_stays_in_its_home(library):
    homes = [Path(home) for home in LIBRARY_HOMES[library]]
    users = [path for path in FILES if library in _list_packages(path)]
    assert [user for user in users if not any(user.is_relative_to(home) for home in homes)] == []


def test_votes_are_judged_without_torch():
    files = find_closure(Path("stages/preference.py"))
    assert [file for file in files if "torch" in _list_packages(file)] == []


def _name(path: Path) -> str:
    """The folder of a file of the library; a stage's own name."""
    return path.parts[1]


def _list_allowed(path: Path) -> set[str]:
    return {_name(path)} | LIBRARY.get(_name(path), set(LIBRARY))


def _list_packages(path: Path) -> set[str]:
    """The first part of the name of each module that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    return {name.split(".")[0] for name in names}
