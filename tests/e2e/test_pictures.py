"""`dvc repro` on pictures that were handed in: what runs, and what a change runs again."""

import pytest
from PIL import Image

from tests.handed_in import make_rows, write_rows, write_side
from tests.micro_project import STAGES, Project

pytestmark = pytest.mark.thorough
ROWS = make_rows({f"a {colour} cup": 2 for colour in ("red", "green", "blue")}, seed=lambda n: n)
OF_FINETUNED = {
    *("check", "preflight", "prepare", "finetune", "sample@finetuned", "score@finetuned"),
    *("compare", "preference", "report"),
}
"""What another fine-tuned picture concerns."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    for seed, name in enumerate(("theirs", "ours")):
        write_side(project.folder / name, ROWS, seed)
    project.set_micro_params({"pictures": {"baseline": "theirs", "finetuned": "ours"}})
    assert project.repro() == set(STAGES)
    return project


def test_the_answer_is_there_and_a_second_run_does_nothing(project: Project) -> None:
    summary = (project.folder / "plots/report.md").read_text()
    assert "| in-domain | 3 | 6 |" in summary
    assert "pictures of ours against those of theirs" in summary
    assert project.read_json("metrics/cost.json") == {}
    assert project.repro() == {"check"}
    shown = project.run("dvc", "exp", "show", "--md")
    assert shown.returncode == 0, shown.stderr
    assert project.run("dvc", "plots", "show").returncode == 0


def test_a_changed_picture_or_table_runs_what_rests_on_it(project: Project) -> None:
    Image.new("RGB", (20, 20), "red").save(project.folder / "ours/0_0.png")
    assert project.repro() == OF_FINETUNED
    without = [{k: v for k, v in row.items() if k != "seed"} for row in ROWS]
    write_rows(project.folder / "ours/metadata.csv", without)
    ran = project.repro()
    assert {"sample@baseline", "compare", "report"} <= ran
    assert not {"embed", "encode"} & ran
    summary = (project.folder / "plots/report.md").read_text()
    assert "**Not the same noise: pictures are independent" in summary
    write_rows(project.folder / "ours/metadata.csv", ROWS)


def test_one_side_alone_is_refused_before_any_result_is_touched(project: Project) -> None:
    before = project.hash_files("metrics", "data/samples")
    project.set_params({"pictures": {"finetuned": "none"}})
    result = project.run("dvc", "repro")
    assert result.returncode != 0
    expected = 'pictures.finetuned: found "none"; should be named if baseline is, which is theirs'
    assert expected in result.stderr + result.stdout
    assert project.hash_files("metrics", "data/samples") == before
    project.set_params({"pictures": {"finetuned": "ours"}})
