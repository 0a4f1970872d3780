import ast
from pathlib import Path

import pytest

FOLDERS = (
    "analysis",
    "artifacts",
    "charts",
    "config",
    "diffusion",
    "drawing",
    "scoring",
    "sources",
)
LOWEST = {"config", "artifacts"}
# `sources` turns drawings into pairs; artifacts words their captions.
ALLOWED = {"sources": {"drawing"}}
LIBRARY_HOMES = {
    "torch": (
        "stages/diffusion",
        "stages/scoring",
        "stages/files/tensors.py",
        "stages/score.py",
        "stages/launch",  # its processes are watched by torch's agent
        "stages/tiny",
    ),
    "plotly": ("stages/charts",),
    "open_clip": ("stages/scoring", "stages/tiny"),
    "ruamel": ("stages/config/params.py",),
}


def _find_files() -> list[Path]:
    return sorted(Path("stages").rglob("*.py"))


def _list_modules(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


@pytest.mark.parametrize("path", _find_files(), ids=str)
def test_imports_point_down(path):
    imported = {n.split(".")[1] for n in _list_modules(path) if n.startswith("stages.")}
    if path.parent == Path("stages"):  # entry points: every folder, never one another
        assert imported <= set(FOLDERS)
    elif path.parts[1] in FOLDERS:
        folder = path.parts[1]
        assert imported <= {folder} | LOWEST | ALLOWED.get(folder, set())


@pytest.mark.parametrize("library", LIBRARY_HOMES)
def test_a_heavy_library_stays_in_its_home(library):
    homes = [Path(home) for home in LIBRARY_HOMES[library]]
    for path in _find_files():
        if library in {name.split(".")[0] for name in _list_modules(path)}:
            assert any(path == home or home in path.parents for home in homes), path
