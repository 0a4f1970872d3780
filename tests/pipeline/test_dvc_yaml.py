import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.config import paths
from stages.config.params import Params
from tests.pipeline.imports import find_closure

PIPELINE = YAML(typ="safe", pure=True).load(Path("dvc.yaml").read_text())["stages"]
PARAMS = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE.items()}
EXEMPT = Path("stages/config")
NO_HYPERPARAMETERS = {"launch"}
"""Sections whose change re-runs nothing."""


@pytest.mark.parametrize("name", STAGES)
def test_deps_name_every_imported_module(name):
    expected = {
        f
        for f in find_closure(Path(f"stages/{name}.py"))
        if f.name != "__init__.py" and EXEMPT not in f.parents
    }
    expected |= {t for f in expected for t in f.parent.glob("*.j2") if f.parent != Path("stages")}
    listed = {Path(d) for d in STAGES[name]["deps"] if d.startswith("stages/")}
    assert {f for f in listed if EXEMPT not in f.parents} == expected


@pytest.mark.parametrize("name", STAGES)
def test_params_listed_are_the_sections_that_are_read(name):
    listed = {key.split(".")[0] for key in STAGES[name].get("params", [])}
    assert listed == {_rename(field) for field in _read_fields(Path(f"stages/{name}.py"))}


@pytest.mark.parametrize("name", STAGES)
def test_listed_params_exist(name):
    for key in STAGES[name].get("params", []):
        value = PARAMS
        for part in key.replace("${base}", PARAMS["base"]).split("."):
            value = value[part]


@pytest.mark.parametrize("name", STAGES)
def test_outs_are_spelled_as_in_paths(name):
    known = {str(value) for value in vars(paths).values() if isinstance(value, Path)}
    for out in _list_outs(STAGES[name]):
        parents = {str(parent) for parent in (Path(out), *Path(out).parents)}
        assert parents & known, f"{out} is not in stages/config/paths.py"


def test_nothing_is_written_by_two_stages():
    outs = [out for stage in STAGES.values() for out in _list_outs(stage)]
    assert len(outs) == len(set(outs))


def test_readme_shows_the_pipeline():
    chart = re.search(r"```mermaid\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert chart
    assert all(name in chart[1] for name in STAGES)


def _list_outs(stage: dict) -> list[str]:
    entries = stage.get("outs", []) + stage.get("metrics", []) + stage.get("plots", [])
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def _read_fields(path: Path) -> set[str]:
    """Sections of params.yaml that an entry point reads: `params.X` or `load_params().X`.

    Dumping all of them reads all of them.
    """
    sections = {*Params.model_fields, "chosen"} - NO_HYPERPARAMETERS
    names = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("params", "load_params()")
    }
    return sections if "model_dump" in names else names & sections


def _rename(field: str) -> str:
    return "bases" if field == "chosen" else field
