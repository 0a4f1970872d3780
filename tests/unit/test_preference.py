import json
from pathlib import Path

import pytest

from stages import preference
from stages.analysis.results import read_preference
from stages.commands import study
from stages.config import paths
from stages.config.mistakes import UserError
from stages.study.key import read_key
from tests.study_project import (
    answer_study,
    prefer,
    press_left,
    set_num_pairs,
    write_project,
    write_variant,
)


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project()
    set_num_pairs(20)
    study.main()


def vote(rater: int, answer) -> None:
    text = answer_study(read_key(paths.STUDY_KEY), rater, answer)
    (paths.VOTES / f"{rater}.csv").write_text(text, encoding="utf-8")


def read_metrics() -> dict:
    return json.loads(paths.PREFERENCE.read_text())


@pytest.mark.usefixtures("_project")
def test_without_votes_it_is_empty_and_says_so(caplog):
    caplog.set_level("INFO")
    paths.STUDY_KEY.unlink()  # as in a fresh clone
    preference.main()
    assert read_metrics() == {}
    assert read_preference(paths.PREFERENCE_TABLES) is None
    assert caplog.messages == ["nothing: there are no votes in data/votes"]


@pytest.mark.usefixtures("_project")
def test_votes_on_the_pictures_of_another_experiment_are_none_on_these(caplog):
    caplog.set_level("INFO")
    vote(1, prefer("finetuned"))
    preference.main()
    assert read_metrics()
    write_variant("finetuned", 3)
    (paths.VOTES / "2.csv").write_text("not read\n")
    preference.main()
    assert read_metrics() == {}
    assert read_preference(paths.PREFERENCE_TABLES) is None
    assert (
        caplog.messages[-1]
        == "nothing: the study of data/study/key.csv is not of the pictures of this run"
    )


@pytest.mark.usefixtures("_project")
def test_the_metrics_are_few_and_those_of_the_votes():
    for rater in (1, 2, 3):
        vote(rater, prefer("finetuned"))
    vote(4, press_left)
    preference.main()
    found = read_metrics()
    assert list(found) == [
        *(f"{q}_{n}" for q in ("fits_text", "looks_better") for n in ("preference", "low", "high")),
        *("num_raters", "num_pairs", "self_agreement", "rater_agreement"),
    ]
    assert found["fits_text_preference"] == found["fits_text_high"] == 1
    assert 0.8 < found["fits_text_low"] < 0.9
    assert found["num_raters"] == 3
    assert found["num_pairs"] == 20
    assert found["self_agreement"] == found["rater_agreement"] == 1
    read = read_preference(paths.PREFERENCE_TABLES)
    assert read.raters.set_index("rater")["reason"].map(bool).to_dict() == {
        "1": False,
        "2": False,
        "3": False,
        "4": True,
    }
    assert 0.5 < read.found["preference_of_all_raters"]["fits_text"] < 1


@pytest.mark.usefixtures("_project")
def test_metrics_are_confirmed_by_raters_who_see_as_they_do():
    def see_as_clip(row, left, right):
        better = "finetuned" if int(row["prompt_id"][1:]) % 2 == 0 else "baseline"
        return prefer(better)(row, left, right)

    vote(1, see_as_clip)
    preference.main()
    read = read_preference(paths.PREFERENCE_TABLES)
    clip = read.confirmation.set_index(["question", "metric"]).loc[("fits_text", "clip_cosine")]
    assert clip["agreement"] == 1
    assert clip["reads_as"] == "confirmed"
    assert clip["num_pairs"] == 20
    assert "clip_cosine" not in set(read.opposed["metric"])


@pytest.mark.usefixtures("_project")
def test_one_rater_who_did_not_look_leaves_nothing(caplog):
    caplog.set_level("INFO")
    vote(4, press_left)
    preference.main()
    assert read_metrics() == {}
    assert caplog.messages[-1] == "nothing: every rater is left out"


@pytest.mark.usefixtures("_project")
def test_votes_that_were_edited_stop_the_run_and_leave_what_was_there():
    vote(1, prefer("finetuned"))
    preference.main()
    before = read_metrics()
    path = paths.VOTES / "1.csv"
    path.write_text(path.read_text().replace(",right,", ",left,"))
    with pytest.raises(UserError, match=r"1\.csv, line \d+: was edited"):
        preference.main()
    assert read_metrics() == before
