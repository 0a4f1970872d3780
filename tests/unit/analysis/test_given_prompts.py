"""What is said of the very prompts, and how often that is right."""

import numpy as np
import pandas as pd
import pytest

from stages.analysis.given_prompts import judge_given_prompts
from tests.unit.analysis.builders import PARAMS

NUM_DRAWS = 2000
SAMPLING_ERROR = 2 * (0.05 * 0.95 / NUM_DRAWS) ** 0.5
QUICK = PARAMS.model_copy(update={"num_resamples": 400})
NUM_FAMILIES = 200
DESIGNS = {"5 x 4": (5, 4), "12 x 2": (12, 2), "1 x 30": (1, 30)}


def draw_normal(rng, shape):
    return rng.normal(0, 0.03, shape)


def draw_skewed(rng, shape):
    """An exponential: skewness 2."""
    return 0.03 * (rng.exponential(1, shape) - 1)


def draw_heavy_tailed(rng, shape):
    return 0.03 * rng.standard_t(3, shape)


def draw_zero_or_one(rng, shape):
    return rng.integers(0, 2, shape) - 0.5


def draw_unequal(rng, shape):
    """The last prompt's pictures vary almost seven times as much as the first's."""
    return rng.normal(0, 0.03, shape) * np.linspace(0.3, 2, shape[-2])[:, None]


def make_pairs(differences: np.ndarray) -> pd.DataFrame:
    """Rows of groups G, prompts P and pictures K from (G, P, K)."""
    groups, prompts, _ = np.indices(differences.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "class": groups,
            "prompt_id": [
                f"{group} {prompt}" for group, prompt in zip(groups, prompts, strict=True)
            ],
            "difference": differences.ravel(),
        }
    )


@pytest.mark.thorough
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    "draw", [draw_normal, draw_skewed, draw_heavy_tailed, draw_zero_or_one, draw_unequal]
)
def test_95_percent_intervals_cover_the_prompts_own_mean_in_93_to_97_percent(draw, design):
    """The prompts' true differences are far apart, and no part of the noise."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, (NUM_DRAWS, DESIGNS[design][0], 1))
    differences = truth + draw(rng, (NUM_DRAWS, *DESIGNS[design]))
    found = [
        judge_given_prompts(make_pairs(part), "class", QUICK)
        for part in np.split(differences, NUM_DRAWS // 500)
    ]
    limits, means = pd.concat(found), truth.mean(axis=(1, 2))
    coverage = np.mean((limits["ci_low"] <= means) & (means <= limits["ci_high"]))
    assert 0.93 - SAMPLING_ERROR <= coverage <= 0.97 + SAMPLING_ERROR


@pytest.mark.thorough
@pytest.mark.parametrize("design", ["5 x 4", "12 x 2"])
def test_ten_classes_without_a_difference_raise_a_false_alarm_in_under_5_percent(design):
    """Each prompt has a difference of its own; those of a class add up to none."""
    rng, num_false = np.random.default_rng(1), 0
    for _ in range(NUM_FAMILIES):
        truth = rng.normal(0, 0.05, (10, DESIGNS[design][0], 1))
        noise = draw_normal(rng, (10, *DESIGNS[design]))
        pairs = make_pairs(truth - truth.mean(axis=1, keepdims=True) + noise)
        verdicts = judge_given_prompts(pairs, "class", PARAMS)["verdict"]
        num_false += verdicts.isin(["better", "worse"]).any()
    assert num_false / NUM_FAMILIES < 0.05


def test_p_value_and_interval_agree():
    rng = np.random.default_rng(2)
    for shape in ((40, 5, 4), (40, 12, 2)):
        table = judge_given_prompts(make_pairs(rng.normal(0.012, 0.03, shape)), "class", PARAMS)
        excludes_zero = (table["ci_low"] > 0) | (table["ci_high"] < 0)
        assert 0 < excludes_zero.sum() < len(table)
        assert (excludes_zero == (table["p_value"] < 0.05)).mean() >= 0.95  # but for ties


def test_equal_pictures_give_exactly_zero():
    table = judge_given_prompts(make_pairs(np.zeros((2, 3, 4))), "class", PARAMS)
    assert table[["ci_low", "ci_high"]].to_numpy().tolist() == [[0.0, 0.0]] * 2
    assert table["p_value"].tolist() == [1.0, 1.0]
    assert table["verdict"].tolist() == ["no difference shown"] * 2


def test_one_picture_a_prompt_says_nothing_of_its_noise():
    pairs = make_pairs(np.random.default_rng(0).normal(1, 0.01, (2, 12, 1)))
    table = judge_given_prompts(pairs, "class", PARAMS)
    assert table[["ci_low", "p_value", "p_value_holm"]].isna().all(axis=None)
    assert table["verdict"].tolist() == ["too little data to say"] * 2


def test_one_prompt_is_judged_as_by_a_t_test_where_its_pictures_are_few():
    """Welch's degrees of freedom are K - 1 for one prompt: by hand, t = 1 / (0.1 / sqrt(3))."""
    pairs = make_pairs(np.array([[[0.9, 1.0, 1.1]]]))
    row = judge_given_prompts(pairs, "prompt_id", PARAMS).iloc[0]
    assert row["ci_low"] == pytest.approx(1 - 4.30265 * 0.1 / 3**0.5, abs=1e-5)
    assert row["p_value"] == pytest.approx(0.0033, abs=1e-4)
