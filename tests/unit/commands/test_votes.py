from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from stages.commands import study
from stages.commands.votes import main
from stages.config import paths
from stages.config.mistakes import UserError
from stages.study.key import read_key
from tests.experiments import write_experiments
from tests.study_project import answer_study, prefer, press_left, write_variant


def write_experiment(seed: int) -> None:
    for variant, number in (("baseline", 1), ("finetuned", seed)):
        paths.SAMPLES[variant].parent.mkdir(parents=True, exist_ok=True)
        write_variant(variant, number)


@pytest.fixture
def _experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stages.analysis.strengths.NUM_RESAMPLES", 20)
    names = ("attn2", "full", "lora")
    write_experiments({name: partial(write_experiment, n + 2) for n, name in enumerate(names)})
    paths.VOTES.mkdir(parents=True)


def vote(rater: int, answer) -> None:
    text = answer_study(read_key(paths.STUDY_KEY), rater, answer)
    (paths.VOTES / f"{rater}.csv").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("_experiments")
def test_two_experiments_have_shares_and_who_looks_at_nothing_is_left_out(caplog):
    caplog.set_level("INFO")
    study.main("lora", "full")
    vote(1, prefer("lora"))
    vote(2, prefer("lora"))
    vote(3, press_left)
    main()
    table = pd.read_csv(paths.JUDGED_VOTES).set_index(["question", "arm"])
    assert table["chance"].to_dict() == {
        (question, arm): float(arm == "lora")
        for question in ("fits_text", "looks_better")
        for arm in ("lora", "full")
    }
    assert table.loc[("fits_text", "lora"), "ci_low"] > 0.8
    assert set(table["num_raters"]) == {2}
    assert "rater 3 is left out: presses left whatever it shows" in caplog.text


@pytest.mark.usefixtures("_experiments")
def test_more_experiments_have_strengths():
    study.main("lora", "full", "attn2")
    vote(1, prefer("lora"))
    main()
    table = pd.read_csv(paths.JUDGED_VOTES)
    best = table[table["question"] == "fits_text"].iloc[0]
    assert best["arm"] == "lora"
    assert best["chance"] > 0.9


@pytest.mark.usefixtures("_experiments")
def test_no_votes_and_no_rater_who_looked_are_said():
    study.main("lora", "full")
    with pytest.raises(UserError, match="there are no votes in data/votes"):
        main()
    vote(3, press_left)
    with pytest.raises(UserError, match="data/votes: every rater is left out"):
        main()
