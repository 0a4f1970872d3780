"""dvc.yaml as it stands: each stage with the items of its `foreach` filled in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.config import paths


@dataclass(frozen=True)
class Stage:
    """A stage that DVC runs, with paths and keys as dvc.yaml spells them.

    Attributes:
        script: The file directly in stages/ that it runs.
        item: Of `foreach`; "" where there is none.
        is_always_run: Whether DVC runs it each time; it needs no deps then.
    """

    name: str
    script: Path
    item: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    is_always_run: bool

    @property
    def code(self) -> set[Path]:
        """Its deps on our own code."""
        return {Path(dep) for dep in self.deps if Path(dep).parts[0] == "stages"}

    @property
    def only_looks(self) -> bool:
        """Whether it only looks at what is there: an edit of its code changes no number."""
        looks = (paths.CHECKED, paths.SUBJECT, paths.CHOSEN, paths.LEFT_OUT)
        return set(map(str, looks)).issuperset(self.outs)


def read_stages(text: str) -> dict[str, Stage]:
    """All stages of a dvc.yaml by name, in execution order."""
    table = YAML(typ="safe", pure=True).load(text)["stages"]
    return {stage.name: stage for name, entry in table.items() for stage in _expand(name, entry)}


def _expand(name: str, entry: dict[str, Any]) -> Iterator[Stage]:
    if "foreach" not in entry:
        yield _build(name, "", entry)
        return
    items = entry["foreach"]
    for item in items:
        values = {"${item}": item, "${key}": item}
        if isinstance(items, dict):
            values = {"${key}": item} | {f"${{item.{k}}}": v for k, v in items[item].items()}
        yield _build(f"{name}@{item}", item, _fill(entry["do"], values))


def _fill(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {_fill(key, values): _fill(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, values) for inner in value]
    if isinstance(value, str):
        for old, new in values.items():
            value = value.replace(old, new)
    return value


def _build(name: str, item: str, entry: dict[str, Any]) -> Stage:
    words = re.findall(r"[\w.]+", entry["cmd"])
    scripts = [Path("stages", f"{word.removeprefix('stages.')}.py") for word in words]
    outs = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
    return Stage(
        name=name,
        script=next(script for script in scripts if script.is_file()),
        item=item,
        deps=tuple(entry.get("deps", [])),
        params=tuple(entry.get("params", [])),
        outs=tuple(out if isinstance(out, str) else next(iter(out)) for out in outs),
        is_always_run=entry.get("always_changed", False),
    )


STAGES = read_stages(Path("dvc.yaml").read_text(encoding="utf-8"))
SCRIPTS = sorted({stage.script for stage in STAGES.values()})
