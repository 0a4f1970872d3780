"""What dvc.yaml says of each stage is what the stage's code does: read, not run."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.config import paths
from tests.pipeline.imports import find_closure
from tests.pipeline.params_read import CHOSEN, find_reads
from tests.pipeline.paths_used import find_paths, find_written_paths
from tests.pipeline.pipeline import SCRIPTS, STAGES, Stage

PARAMS = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
EXEMPT = (Path("stages/config"), Path("stages/run"))
"""config derives nothing, and run changes no number: no stage depends on them."""
REQUIREMENTS = "requirements.txt"
OF_FINETUNED = "import.strength"
"""Read by one script for two variants, and used for one: see test_import.py."""
each_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
each_watched_stage = pytest.mark.parametrize(
    "stage",
    [stage for stage in STAGES.values() if not stage.is_always_run],
    ids=lambda stage: stage.name,
)
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def list_code(stage: Stage) -> set[Path]:
    """What a stage runs of ours, with the templates beside it."""
    files = {file for file in find_closure(stage.script) if file.name != "__init__.py"}
    files |= {t for f in files if len(f.parts) > 2 for t in f.parent.glob("*.j2")}
    return {f for f in files if not set(EXEMPT) & set(f.parents)}


def is_under(path: str | Path, folders: object) -> bool:
    return not {str(path), *map(str, Path(path).parents)}.isdisjoint(map(str, folders))


def covers(key: str, other: str) -> bool:
    return other == key or other.startswith(f"{key}.")


@each_watched_stage
def test_every_import_lies_under_a_dep(stage):
    assert [file for file in sorted(list_code(stage)) if not is_under(file, stage.code)] == []


@each_stage
def test_every_dep_on_code_is_imported(stage):
    files = list_code(stage)
    assert [d for d in sorted(stage.code) if not any(is_under(f, [d]) for f in files)] == []


@each_watched_stage
def test_every_key_that_is_read_is_listed(stage):
    reads = find_reads(stage.script)
    if stage.only_looks:  # whatever is drawn at random is thrown away
        reads = {key for key in reads if not key.endswith(".seed")}
    if stage.item == "baseline":
        reads = reads - {OF_FINETUNED}
    unlisted = [k for k in sorted(reads) if not any(covers(p, k) for p in stage.params)]
    assert unlisted == []


@each_stage
def test_every_key_that_is_listed_is_read(stage):
    reads = find_reads(stage.script)
    assert [
        key for key in stage.params if not any(covers(key, r) or covers(r, key) for r in reads)
    ] == []


@each_stage
def test_listed_keys_exist_and_are_of_the_chosen_base(stage):
    for key in stage.params:
        assert covers(CHOSEN, key) or not covers("bases", key)
        value = PARAMS
        for part in key.replace("${base}", PARAMS["base"]).split("."):
            value = value[part]


@each_script
def test_every_path_that_a_stage_names_is_its_dep_or_out(script):
    known = [path for stage in list_stages(script) for path in (*stage.deps, *stage.outs)]
    strange = [
        path
        for path in sorted(find_paths(script))
        if not is_under(path, [*known, paths.SCRATCH])
        and not any(is_under(name, [path]) for name in known)  # a folder of what is known
    ]
    assert strange == []


@each_script
def test_every_path_that_a_stage_writes_is_its_out(script):
    outs = [out for stage in list_stages(script) for out in stage.outs]
    written = [path for path in find_written_paths(script) if not is_under(path, [paths.SCRATCH])]
    assert [path for path in sorted(written) if not is_under(path, outs)] == []


@each_stage
def test_outs_are_spelled_as_in_paths(stage):
    used = find_paths(stage.script)
    assert [out for out in stage.outs if not any(is_under(path, [out]) for path in used)] == []
    assert [out for out in stage.outs if out not in used | list_known()] == []


@each_stage
def test_what_is_computed_depends_on_the_versions_of_the_packages(stage):
    # A mark holds no number; what no stage depends on, the report, shows those of others.
    used = [dep for other in STAGES.values() for dep in other.deps]
    computes = not stage.only_looks and any(is_under(out, used) for out in stage.outs)
    assert (REQUIREMENTS in stage.deps) == computes


def test_nothing_is_written_by_two_stages():
    outs = [out for stage in STAGES.values() for out in stage.outs]
    assert len(outs) == len(set(outs))


def test_readme_shows_the_pipeline():
    chart = re.search(r"```mermaid\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert chart
    assert [name for name in STAGES if name not in chart[1]] == []


def list_known() -> set[str]:
    """All paths in stages/config/paths.py."""
    values = [value for value in vars(paths).values() if isinstance(value, Path | dict)]
    nested = [value.values() if isinstance(value, dict) else [value] for value in values]
    return {str(path) for group in nested for path in group}


def list_stages(script: Path) -> list[Stage]:
    return [stage for stage in STAGES.values() if stage.script == script]
