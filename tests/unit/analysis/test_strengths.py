import builtins

import numpy as np
import pandas as pd
import pytest

from stages.analysis import strengths
from stages.analysis.strengths import estimate_strengths
from stages.config.mistakes import UserError

STRENGTHS = {"attn2": 1.0, "full": 0.25, "lora": 4.0}


def make_votes(num_raters: int, num_prompts: int, seed: int, num_ties: float = 0.2) -> pd.DataFrame:
    """Votes by Bradley and Terry's model: the first wins with s / (s + s')."""
    rng = np.random.default_rng(seed)
    pairs = [("attn2", "full"), ("lora", "attn2"), ("full", "lora")]
    rows = []
    for rater in range(num_raters):
        for prompt in range(num_prompts):
            left, right = pairs[prompt % 3]
            chance = STRENGTHS[left] / (STRENGTHS[left] + STRENGTHS[right])
            answer = "left" if rng.random() < chance else "right"
            answer = "no difference" if rng.random() < num_ties else answer
            rows.append((str(rater), f"p{prompt}", left, right, answer))
    columns = ["rater", "prompt_id", "arm_left", "arm_right", "answer"]
    return pd.DataFrame(rows, columns=columns).assign(question="fits_text")


@pytest.fixture
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strengths, "NUM_RESAMPLES", 60)


@pytest.mark.usefixtures("_few_resamples")
def test_strengths_are_found_and_the_intervals_hold_them():
    found = estimate_strengths(make_votes(10, 60, 0), 0.95, 0).set_index("arm")
    assert found.index.tolist() == ["lora", "attn2", "full"]
    for arm, row in found.iterrows():
        others = [s for name, s in STRENGTHS.items() if name != arm]
        truth = np.mean([STRENGTHS[arm] / (STRENGTHS[arm] + s) for s in others])
        assert row["chance"] == pytest.approx(truth, abs=0.06)
        assert row["ci_low"] <= truth <= row["ci_high"]
        assert row["num_votes"] == 400


@pytest.mark.usefixtures("_few_resamples")
def test_an_arm_that_never_wins_and_arms_that_always_tie_have_a_strength():
    votes = make_votes(1, 30, 0)
    worst = np.where(votes["arm_left"] == "full", "right", "left")
    worst = np.where(
        (votes[["arm_left", "arm_right"]] == "full").any(axis=1), worst, "no difference"
    )
    found = estimate_strengths(votes.assign(answer=worst), 0.95, 0).set_index("arm")
    assert found.loc["full", "chance"] < 0.1
    assert found.loc["lora", "chance"] == pytest.approx(found.loc["attn2", "chance"], abs=0.02)
    even = estimate_strengths(votes.assign(answer="no difference"), 0.95, 0)
    assert even["chance"].tolist() == pytest.approx([0.5] * 3)


def test_without_evalica_the_command_that_installs_it_is_named(monkeypatch):
    whole = builtins.__import__

    def refuse(name: str, *args: object) -> object:
        if name == "evalica":
            raise ImportError(name)
        return whole(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"pip install -r requirements-votes\.txt"):
        estimate_strengths(make_votes(1, 3, 0), 0.95, 0)
