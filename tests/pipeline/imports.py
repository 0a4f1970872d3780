"""Which modules of ours a module imports, directly or not, read from the syntax trees."""

import ast
from functools import cache
from pathlib import Path


def find_closure(path: Path) -> set[Path]:
    """All files under stages/ that importing `path` executes, itself included."""
    closure, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in closure:
            closure.add(current)
            waiting += find_imports(current)
    return closure


@cache
def find_imports(path: Path) -> tuple[Path, ...]:
    """Files under stages/ that `path` imports directly, functions' own imports included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [file for name in names if (file := _locate(name))]
    return tuple(found)


def _locate(name: str) -> Path | None:
    if name.split(".", maxsplit=1)[0] != "stages":
        return None
    file = Path(*name.split(".")).with_suffix(".py")
    return file if file.exists() else None
