"""Votes of people through `dvc repro` and `dvc exp run`, on a micro base with random weights."""

import csv
import io

import pandas as pd
import pytest

from stages.config import paths
from stages.study.key import read_key
from tests.micro_project import STAGES, Project
from tests.study_project import answer_study, prefer

pytestmark = pytest.mark.thorough

TRAIN = "finetune.max_train_steps=2"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A run without votes, committed."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.set_micro_params({"finetune": {"max_train_steps": 1, "learning_rate": 1e-2}})
    assert project.repro() == set(STAGES)
    project.run("git", "config", "user.name", "a")
    project.run("git", "config", "user.email", "a@b")
    commit(project)
    return project


def commit(project: Project) -> None:
    project.run("git", "add", "-A")
    assert project.run("git", "commit", "-qm", "a").returncode == 0


def show(project: Project) -> list[dict[str, str]]:
    """The rows of `dvc exp show`."""
    result = project.run("dvc", "exp", "show", "--csv")
    assert result.returncode == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_votes_run_their_own_stage_and_the_report_and_are_shown_beside_clip(project):
    assert project.read_json("metrics/preference.json") == {}
    assert not [name for name in show(project)[0] if name.startswith("fits_text")]
    result = project.run("python", "-m", "stages.commands.study")
    assert result.returncode == 0, result.stderr
    assert project.repro() == {"check", "preference"}  # the key is there, and says nothing yet

    key = read_key(project.folder / paths.STUDY_KEY)
    for rater in (1, 2):
        text = answer_study(key, rater, prefer("finetuned"))
        (project.folder / paths.VOTES / f"{rater}.csv").write_text(text)
    assert project.repro() == {"check", "preference", "report"}
    found = project.read_json("metrics/preference.json")
    assert found["fits_text_preference"] == 1
    assert found["num_raters"] == 2
    assert "What people prefer" in (project.folder / "plots/report.html").read_text()
    assert project.repro() == {"check"}
    row = show(project)[0]
    assert row["fits_text_preference"] == "1.0"
    assert row["in_domain_difference"]
    commit(project)


@pytest.mark.parametrize("where", [(), ("--temp",)])
def test_an_experiment_has_other_pictures_and_goes_on_without_their_votes(project, where):
    """In the workspace, and in a folder that holds what git has."""
    name = "there" if where else "here"
    result = project.run("dvc", "exp", "run", *where, "-n", name, "-S", TRAIN)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {row["Experiment"] or row["rev"]: row for row in show(project)}
    experiment = next(row for label, row in rows.items() if name in label)
    assert experiment["fits_text_preference"] in ("", "-")
    assert experiment["in_domain_difference"]
    project.run("git", "checkout", "-q", "HEAD", "--", ".")
    project.run("dvc", "checkout")
    assert project.read_json("metrics/preference.json")["num_raters"] == 2


def test_experiments_meet_in_a_study_of_their_own(project):
    for path in (project.folder / paths.VOTES).glob("*.csv"):
        path.unlink()
    result = project.run("python", "-m", "stages.commands.study", "HEAD", "here")
    assert result.returncode == 0, result.stderr
    key = read_key(project.folder / paths.STUDY_KEY)
    (project.folder / paths.VOTES / "1.csv").write_text(answer_study(key, 1, prefer("here")))
    assert "preference" in project.repro()  # the report comes back from DVC's cache
    assert project.read_json("metrics/preference.json") == {}
    result = project.run("python", "-m", "stages.commands.votes")
    assert result.returncode == 0, result.stderr
    table = pd.read_csv(project.folder / paths.JUDGED_VOTES).set_index(["question", "arm"])
    assert table.loc[("fits_text", "here"), "chance"] == 1
