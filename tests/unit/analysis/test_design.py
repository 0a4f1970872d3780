"""What a plan promises comes true in fresh draws."""

import math

import numpy as np
import pandas as pd
import pytest

from stages.analysis.design import (
    Spread,
    count_more_prompts,
    find_detectable,
    find_standard_error,
    measure_spread,
)
from stages.analysis.resampling import bootstrap_interval, sign_flip_p_value
from stages.analysis.verdict import judge
from tests.unit.analysis.builders import PARAMS

SPREAD = Spread(prompts=0.03, pictures=0.05)
NUM_DRAWS = 600


def draw(rng, num_prompts, num_pictures, mean=0.0, spread=SPREAD):
    """Differences (P, K)."""
    prompts = rng.normal(mean, spread.prompts, (num_prompts, 1))
    return prompts + rng.normal(0, spread.pictures, (num_prompts, num_pictures))


def make_pairs(differences):
    prompts = np.indices(differences.shape)[0].ravel()
    return pd.DataFrame({"prompt_id": prompts, "difference": differences.ravel()})


def judge_draw(differences):
    means = differences.mean(axis=1)
    p_value = sign_flip_p_value(means, PARAMS)
    return judge(means, bootstrap_interval(means, PARAMS), p_value, PARAMS)


def test_variances_between_prompts_and_between_their_pictures_are_told_apart():
    spread = measure_spread(make_pairs(draw(np.random.default_rng(0), 4000, 3)))
    assert spread.prompts == pytest.approx(SPREAD.prompts, rel=0.05)
    assert spread.pictures == pytest.approx(SPREAD.pictures, rel=0.05)


def test_of_one_picture_a_prompt_all_variance_is_the_prompts():
    differences = draw(np.random.default_rng(0), 30, 1)
    spread = measure_spread(make_pairs(differences))
    assert spread.prompts == pytest.approx(differences.std(ddof=1))
    assert math.isnan(spread.pictures)


def test_the_standard_error_of_the_data_is_that_of_their_means():
    """Of a balanced design the parts add up again to the variance of the means."""
    differences = draw(np.random.default_rng(1), 20, 4)
    error = find_standard_error(measure_spread(make_pairs(differences)), 20, 4)
    assert error == pytest.approx(differences.mean(axis=1).std(ddof=1) / 20**0.5)


@pytest.mark.parametrize(("num_prompts", "num_pictures"), [(20, 2), (60, 1)])
def test_what_is_promised_four_times_in_five_is_found_in_75_to_85_percent(
    num_prompts, num_pictures
):
    rng = np.random.default_rng(2)
    promised = find_detectable(SPREAD, num_prompts, num_pictures, 1, PARAMS)
    verdicts = [
        judge_draw(draw(rng, num_prompts, num_pictures, promised)) for _ in range(NUM_DRAWS)
    ]
    assert 0.75 <= verdicts.count("better") / NUM_DRAWS <= 0.85


@pytest.mark.thorough
def test_as_many_prompts_as_are_asked_for_settle_it_four_times_in_five():
    rng = np.random.default_rng(3)
    more = int(count_more_prompts(SPREAD, 20, 2, PARAMS))
    settled = []
    for _ in range(NUM_DRAWS // 2):
        means = [draw(rng, num, k).mean(axis=1) for num, k in ((20, 2), (more, 1))]
        settled.append(judge_draw(np.concatenate(means)[:, None]) == "no difference shown")
    assert 0.75 <= np.mean(settled) <= 0.85


def test_enough_prompts_need_no_more_and_nothing_relevant_can_be_reached_by_none():
    assert count_more_prompts(Spread(0.001, 0.001), 50, 4, PARAMS) == 0
    nothing = PARAMS.model_copy(update={"smallest_relevant_difference": 0.0})
    assert math.isnan(count_more_prompts(SPREAD, 50, 4, nothing))


def test_the_spread_of_seeds_can_only_be_met_by_more_seeds():
    noisy = SPREAD._replace(seeds=0.02)
    few, many = (find_detectable(noisy, 10_000, 4, count, PARAMS) for count in (3, 12))
    assert many < 0.02 < few
    assert math.isnan(find_detectable(noisy, 50, 4, 1, PARAMS))
