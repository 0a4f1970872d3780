"""Which artefacts a stage's script names: `paths.NAME`, and what it appends to it."""

import ast
import re
from functools import cache
from pathlib import Path

from stages.config import paths

WRITERS = re.compile(r"(write|replace|save|publish)_?\w*")
"""Names of functions that write what they are given."""


@cache
def find_paths(script: Path) -> set[str]:
    """Each path that a script names, variants filled in."""
    return _evaluate(ast.parse(script.read_text(encoding="utf-8")))


@cache
def find_written_paths(script: Path) -> set[str]:
    """Those that it gives to a function that writes, and not for that function to read first."""
    calls = [
        node
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and WRITERS.fullmatch(ast.unparse(node.func).rpartition(".")[2])
    ]
    given = [argument for call in calls for argument in (*call.args, *call.keywords)]
    own = [a for a in given if not any(isinstance(node, ast.Call) for node in ast.walk(a))]
    return {path for argument in own for path in _evaluate(argument)}


def _evaluate(root: ast.AST) -> set[str]:
    """The paths below a node, each as far as it is spelled out there."""
    inner: set[ast.AST] = set()
    for node in ast.walk(root):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            inner.add(node.left)
        if isinstance(node, ast.Subscript):
            inner.add(node.value)
    found: set[str] = set()
    for node in ast.walk(root):
        if isinstance(node, ast.BinOp | ast.Attribute | ast.Subscript) and node not in inner:
            found |= {path.as_posix() for path in _follow(node)}
    return found


def _follow(node: ast.AST) -> set[Path]:
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        value = getattr(paths, getattr(node.value, "attr", ""), None)
        return {value[node.slice.value]} if isinstance(value, dict) else set()
    if isinstance(node, ast.Subscript):
        return _follow(node.value)
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "paths":
        value = getattr(paths, node.attr)
        if isinstance(value, dict):  # a path for each variant
            return set(value.values())
        return {value} if isinstance(value, Path) else set()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return {start / end for start in _follow(node.left) for end in _spell(node.right)}
    return set()


def _spell(node: ast.AST) -> set[str]:
    """What is appended: a text, or a variable, which stands for a variant."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.JoinedStr):
        ends = {""}
        for part in node.values:
            texts = [part.value] if isinstance(part, ast.Constant) else paths.VARIANTS
            ends = {end + text for end in ends for text in texts}
        return ends
    return set(paths.VARIANTS)
