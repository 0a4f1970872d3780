"""Which keys of params.yaml a stage reads, found in the syntax trees without running anything.

Followed are the names that a stage's `main` reaches, through all modules of ours, and the types of
values, from annotations. What is read of a section is an attribute of a value of its type, if the
stage takes that section from `Params` at all. A section that goes where it can't be followed (a log
line, a dump, a library) is read as a whole.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from stages.config.params import Params

HERE = Path("stages/config/params.py")
CHOSEN = "bases.${base}"
NAMES_SCRATCH = "hash_inputs"
"""A function that calls it names a folder of unfinished work. A key too many in that name costs a
checkpoint and no number, so its dumps don't count."""


@dataclass(frozen=True)
class Symbol:
    """A function, class or constant of a module."""

    file: Path
    name: str

    @property
    def node(self) -> ast.AST:
        """Where it is defined."""
        return read_module(self.file).definitions[self.name]

    @property
    def path(self) -> str | None:
        """For a class that is a section: where it stands in params.yaml; "" is all of it."""
        return SECTIONS.get(self.name) if self.file == HERE else None


@dataclass
class Module:
    """What is defined in a file, and what each name means there: a symbol or a module of ours."""

    definitions: dict[str, ast.AST] = field(default_factory=dict)
    names: dict[str, Symbol | Path] = field(default_factory=dict)


@cache
def read_module(file: Path) -> Module:
    """Its definitions and what it imports from us, in functions as well."""
    tree, module = ast.parse(file.read_text(encoding="utf-8")), Module()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        for name in [*names, *filter(None, [getattr(node, "name", None)])]:
            module.definitions[name] = node
            module.names[name] = Symbol(file, name)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stages":
            folder = Path(*node.module.split("."))
            for alias in node.names:
                inner, outer = (folder / alias.name).with_suffix(".py"), folder.with_suffix(".py")
                found = inner if inner.exists() else Symbol(outer, alias.name)
                module.names[alias.asname or alias.name] = found
    return module


def _list_sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, str]]:
    yield model.__name__, path
    for name, info in model.model_fields.items():
        inner = (
            CHOSEN if not path and name == "bases" else f"{path}.{info.alias or name}".strip(".")
        )
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _list_sections(kind, inner)


Types = frozenset[Symbol]
NOTHING: Types = frozenset()
SECTIONS = dict(_list_sections(Params, ""))
"""Where each class of stages/config/params.py stands in params.yaml."""


@cache
def find_reads(script: Path) -> set[str]:
    """Keys of params.yaml that a stage reads; that of a section stands for all of it."""
    reads, ways, seen = set(), set(), set()
    waiting = [Symbol(script, "main")]
    while waiting:
        symbol = waiting.pop()
        if symbol in seen or symbol.name not in read_module(symbol.file).definitions:
            continue
        seen.add(symbol)
        if symbol.path is None:  # of a section, only the properties that are asked for
            scope = Scope(symbol.file, symbol if isinstance(symbol.node, ast.ClassDef) else None)
            scope.read(symbol.node)
            waiting += scope.reached
            reads |= scope.reads
            ways |= scope.ways
    taken = {""}
    while more := {end for start, end in ways if start in taken} - taken:
        taken |= more
    return {key for section, key in reads if section in taken}


class Scope:
    """A function, or all of a class: the types of its variables, and what it reads.

    Attributes:
        reads: Pairs (section, key); the key is the section's own where all of it is read.
        ways: Pairs (section, section) where the second is taken from the first.
        reached: What of ours is named.
    """

    def __init__(self, file: Path, owner: Symbol | None = None) -> None:
        self.module = read_module(file)
        self.types: dict[str, Types] = {"self": frozenset([owner])} if owner else {}
        self.reads: set[tuple[str, str]] = set()
        self.ways: set[tuple[str, str]] = set()
        self.reached: list[Symbol] = []

    def read(self, root: ast.AST) -> None:
        """Note all that is read below a node, and what the properties of sections read for it."""
        self.bind(root)
        parents = {child: node for node in ast.walk(root) for child in ast.iter_child_nodes(node)}
        names_scratch = any(isinstance(n, ast.Name) and n.id == NAMES_SCRATCH for n in parents)
        for node in filter(lambda node: isinstance(node, ast.expr), ast.walk(root)):
            if found := self._resolve(node):
                self.reached.append(found)
            for owner in self.find_types(node.value) if isinstance(node, ast.Attribute) else ():
                self._read_attribute(owner, node.attr)
            if isinstance(getattr(node, "ctx", None), ast.Store):
                continue
            for kind in self.find_types(node):
                self.reached.append(kind)
                if kind.path is not None and not self._is_followed(node, kind, parents):
                    use = parents[node]
                    if not (isinstance(use, ast.Attribute) and names_scratch):
                        self.reads |= {(kind.path, key) for key in _list_dumped(kind, parents[use])}

    def _read_attribute(self, owner: Symbol, name: str) -> None:
        """A key of a section, a section in a section, or a property that reads keys."""
        member = find_member(owner, name) if owner.path is not None else None
        if member is None:
            return
        if sections := {kind.path for kind in find_member_types(owner, name)} - {None}:
            self.ways |= {(owner.path, section) for section in sections}
        elif isinstance(member, ast.AnnAssign):
            words = [node for node in ast.walk(member) if isinstance(node, ast.keyword)]
            key = next((w.value.value for w in words if w.arg == "alias"), name)
            self.reads.add((owner.path, f"{owner.path}.{key}".strip(".")))
        else:
            scope = Scope(owner.file, owner)
            scope.read(member)
            self.reads |= scope.reads
            self.ways |= scope.ways

    def _is_followed(self, node: ast.expr, kind: Symbol, parents: dict[ast.AST, ast.AST]) -> bool:
        """Whether a section goes on to where what is read of it is seen."""
        parent = parents.get(node)
        while isinstance(parent, ast.Tuple | ast.IfExp | ast.keyword | ast.Starred | ast.BoolOp):
            node, parent = parent, parents.get(parent)
        if isinstance(parent, ast.Attribute):
            return find_member(kind, parent.attr) is not None
        if isinstance(parent, ast.Call):
            return parent.func is node or kind in self._list_taken(parent.func)
        kept = ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.Return | ast.Subscript | ast.Expr
        return isinstance(parent, kept | ast.For | ast.comprehension | ast.Compare | ast.arg)

    def _list_taken(self, function: ast.expr) -> Types:
        """The classes of ours that a function or class of ours says it takes."""
        if ast.unparse(function) == "replace":
            return frozenset(Symbol(HERE, name) for name in SECTIONS)
        found = self._resolve(function)
        definition = found and read_module(found.file).definitions.get(found.name)
        nodes = ast.walk(definition) if definition else ()
        takers = [node for node in nodes if isinstance(node, ast.arg | ast.AnnAssign)]
        return NOTHING.union(*(find_classes(found.file, node.annotation) for node in takers))

    def _resolve(self, node: ast.expr) -> Symbol | None:
        """The function, class or constant of ours that an expression names."""
        found = self.module.names.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = self.module.names.get(node.value.id)
            found = Symbol(module, node.attr) if isinstance(module, Path) else None
        return found if isinstance(found, Symbol) else None

    def bind(self, root: ast.AST) -> None:
        """Find the types of variables; three times, as one can rest on a later one."""
        for node in [*ast.walk(root)] * 3:
            match node:
                case ast.arg(arg=name) | ast.AnnAssign(target=ast.Name(id=name)):
                    self._set(name, find_classes_in(self.module, node.annotation))
                case ast.Assign():
                    for target in node.targets:
                        self._pair(target, node.value)
                case ast.For() | ast.comprehension():
                    self._pair(node.target, node.iter)
                case ast.NamedExpr():
                    self._pair(node.target, node.value)
                case ast.withitem(optional_vars=ast.expr()):
                    self._pair(node.optional_vars, node.context_expr)

    def _pair(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._set(target.id, self.find_types(value))
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for inner, part in zip(target.elts, value.elts, strict=False):
                self._pair(inner, part)

    def _set(self, name: str, types: Types) -> None:
        self.types[name] = self.types.get(name, NOTHING) | types

    def find_types(self, node: ast.expr) -> Types:
        """The classes of ours that a value can have, or that it is a list or table of."""
        match node:
            case ast.Name():
                return self.types.get(node.id, NOTHING)
            case ast.Subscript() | ast.Starred():
                return self.find_types(node.value)
            case ast.IfExp():
                values = [node.body, node.orelse]
            case ast.BoolOp():
                values = node.values
            case ast.Attribute():
                owners = self.find_types(node.value)
                return NOTHING.union(*(find_member_types(owner, node.attr) for owner in owners))
            case ast.Call():
                return self._find_result_types(node)
            case _:
                values = []
        return NOTHING.union(*map(self.find_types, values))

    def _find_result_types(self, call: ast.Call) -> Types:
        if ast.unparse(call.func) == "replace" and call.args:
            return self.find_types(call.args[0])
        found = self._resolve(call.func)
        if found is None:
            return self.find_types(call.func) if isinstance(call.func, ast.Attribute) else NOTHING
        definition = read_module(found.file).definitions.get(found.name)
        if isinstance(definition, ast.ClassDef):
            return frozenset([found])
        return find_classes(found.file, getattr(definition, "returns", None))


def _list_dumped(kind: Symbol, call: ast.AST) -> set[str]:
    """The keys of a section that goes where it can't be followed; of all of params.yaml each."""
    if kind.path:
        return {kind.path}
    words = {word.arg: word.value for word in getattr(call, "keywords", [])}
    left_out = ast.literal_eval(words["exclude"]) if "exclude" in words else set()
    fields = Params.model_fields.items()
    return {info.alias or name for name, info in fields if name not in left_out}


def find_member(owner: Symbol, name: str) -> ast.AST | None:
    """A field, property or method of a class or of those that it extends."""
    node = read_module(owner.file).definitions.get(owner.name)
    for statement in node.body if isinstance(node, ast.ClassDef) else ():
        found = getattr(statement, "name", None) or getattr(statement, "target", None)
        if found == name or (isinstance(found, ast.Name) and found.id == name):
            return statement
    bases = getattr(node, "bases", [])
    parents = [parent for base in bases for parent in find_classes(owner.file, base)]
    return next(filter(None, (find_member(parent, name) for parent in parents)), None)


@cache
def find_member_types(owner: Symbol, name: str) -> Types:
    """The classes of ours that a field has, or that a property or method returns."""
    member = find_member(owner, name)
    if member:
        annotation = getattr(member, "returns", None) or getattr(member, "annotation", None)
        return find_classes(owner.file, annotation)
    definition = read_module(owner.file).definitions.get(owner.name)
    if init := find_member(owner, "__init__") if definition else None:
        scope = Scope(owner.file)
        scope.bind(init)
        for node in ast.walk(init):  # self.name = argument
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"self.{name}":
                return scope.find_types(node.value)
    return NOTHING


def find_classes(file: Path, annotation: ast.AST | None) -> Types:
    """The classes of ours that an annotation in a file names."""
    return find_classes_in(read_module(file), annotation)


def find_classes_in(module: Module, annotation: ast.AST | None) -> Types:
    """As `find_classes`, of a module."""
    nodes = list(ast.walk(annotation)) if annotation else []
    names = [getattr(node, "id", getattr(node, "value", None)) for node in nodes]
    found = [module.names.get(name) for name in names if isinstance(name, str)]
    return frozenset(
        symbol
        for symbol in found
        if isinstance(symbol, Symbol)
        and isinstance(read_module(symbol.file).definitions.get(symbol.name), ast.ClassDef)
    )
