import re
from pathlib import Path

import pytest

from stages import preference
from stages.commands import study
from stages.config import paths
from stages.study.key import read_key
from tests.report_project import write_report, write_results
from tests.study_project import answer_study, prefer, press_left


def vote(rater: int, answer) -> None:
    paths.VOTES.mkdir(parents=True, exist_ok=True)
    text = answer_study(read_key(paths.STUDY_KEY), rater, answer)
    (paths.VOTES / f"{rater}.csv").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a study of its pictures."""
    folder = tmp_path_factory.mktemp("people")
    write_results(folder)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("num_pairs: 40 ", "num_pairs: 20 "))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study.main()
    return folder


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, *answers) -> str:
    """The report after votes of so many raters."""
    monkeypatch.chdir(folder)
    for rater, answer in enumerate(answers, start=1):
        vote(rater, answer)
    preference.main()
    return write_report(folder)


@pytest.mark.thorough
def test_the_report_says_nothing_of_people_without_votes(folder, monkeypatch):
    page = write(folder, monkeypatch)
    assert 'id="preference"' not in page
    assert "What people prefer" not in page


@pytest.mark.thorough
def test_one_rater_is_said_to_be_one(folder, monkeypatch):
    page = write(folder, monkeypatch, prefer("finetuned"))
    section = re.search(r'<section id="preference">(.*?)</section>', page, re.DOTALL)[1]
    assert "One rater compared 20 pairs" in section
    assert "what other people prefer they do not say" in section
    assert "fine-tuned is preferred" in section
    assert '<a href="#preference">' in page


def test_several_raters_metrics_and_who_is_left_out_are_told(folder, monkeypatch):
    page = write(folder, monkeypatch, prefer("baseline"), prefer("baseline"), press_left)
    section = re.search(r'<section id="preference">(.*?)</section>', page, re.DOTALL)[1]
    assert "2 raters compared 20 pairs" in section
    assert "baseline is preferred" in section
    assert "1 of 3 raters are left out" in section
    assert "presses left whatever it shows" in section
    assert "Not confirmed by anybody\N{RIGHT SINGLE QUOTATION MARK}s eye in this study" in section
    assert "CLIP cosine: Which picture fits the text better?" in section
    assert "<script" not in section
