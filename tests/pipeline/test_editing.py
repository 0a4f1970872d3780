"""What an edit makes stale, by DVC's own look: code is cut into folders for the sake of this.

Nothing is run: a text stands for each model and for what each stage writes, and DVC is told that
all of it is up to date.
"""

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.pipeline.imports import find_closure
from tests.pipeline.pipeline import SCRIPTS, STAGES

FOLDERS = sorted({path.parent for path in Path("stages").glob("*/*.py")})
EXEMPT = [Path("stages/config"), Path("stages/run")]
"""Of every stage, and yet deps of none; `check` runs each time anyway."""


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, set[str]]:
    """The stages that an edit makes stale, by the script or the folder in which it is made."""
    project = tmp_path_factory.mktemp("editing")
    shutil.copytree("stages", project / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", "requirements.txt"):
        shutil.copyfile(name, project / name)
    with Repo.init(str(project), no_scm=True), pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        outs = [out for stage in STAGES.values() for out in stage.outs]
        deps = [dep for stage in STAGES.values() for dep in stage.deps]
        for name in sorted(
            [*outs, *deps, "data/extra_prompts.csv"], reverse=True
        ):  # in folders first
            path = Path(name)
            if "$" not in name and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(name)
        with Repo() as repo:
            repo.commit(force=True)
        with Repo() as repo:
            assert repo.status() == {"check": ["always changed"]}
            return {
                **{script: edit(repo, script) for script in SCRIPTS},
                **{folder: edit(repo, max(folder.glob("*.py"))) for folder in FOLDERS},
            }


def test_an_edit_makes_those_stages_stale_that_import_from_its_folder(stale):
    expected = {
        folder: {
            name
            for name, stage in STAGES.items()
            if not stage.is_always_run
            and any(folder in file.parents for file in find_closure(stage.script))
        }
        for folder in FOLDERS
    }
    expected |= {folder: set() for folder in EXEMPT}
    assert {folder: stale[folder] for folder in FOLDERS} == expected


def test_an_edit_of_a_script_makes_its_own_stages_stale(stale):
    expected = {
        script: {n for n, s in STAGES.items() if s.script == script and not s.is_always_run}
        for script in SCRIPTS
    }
    assert {script: stale[script] for script in SCRIPTS} == expected


def test_training_code_samples_no_baseline(stale):
    assert stale[Path("stages/training")] == {"finetune"}
    after = follow({"finetune"})
    assert {"sample@finetuned", "report"} <= after
    assert not {"sample@baseline", "score@baseline"} & after


def test_scoring_code_trains_and_samples_nothing(stale):
    after = follow(stale[Path("stages/scoring")])
    assert {"score@baseline", "score@finetuned", "report"} <= after
    assert not [name for name in after if name.startswith(("encode", "finetune", "sample"))]


def test_analysis_code_compares_again_and_scores_nothing(stale):
    assert stale[Path("stages/analysis")] == {"compare", "preference", "report"}


def test_reporting_code_writes_the_report_again_and_nothing_else(stale):
    assert stale[Path("stages/reporting")] == follow({"report"}) == {"report"}


def edit(repo: Repo, file: Path) -> set[str]:
    """Add a comment to a file, and take it away again; the stages that were stale meanwhile."""
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}# edited\n", encoding="utf-8")
    try:
        return {
            stage.addressing
            for stage in repo.index.stages
            if any(dep.def_path.startswith("stages/") and dep.status() for dep in stage.deps)
        }
    finally:
        file.write_text(text, encoding="utf-8")


def follow(stale: set[str]) -> set[str]:
    """Stages with all that depend on what they write, directly or not, unless it is a mark."""
    outs = [Path(out) for n in stale if not STAGES[n].only_looks for out in STAGES[n].outs]
    read = {str(path) for out in outs for path in (out, *out.parents)}
    after = {name for name, stage in STAGES.items() if not read.isdisjoint(stage.deps)}
    return stale if after <= stale else follow(stale | after)
