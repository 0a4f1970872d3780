import numpy as np
import pandas as pd
import pytest

from stages.analysis.paired import (
    average_per_prompt,
    bootstrap_interval,
    pair_scores,
    sign_flip_p_value,
    smallest_p_value,
)
from stages.config.params import CompareParams

PARAMS = CompareParams(confidence_level=0.95, num_resamples=2000, seed=0)


def make_scores(cosines: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file_name": f"{prompt_id}_{index:03d}.png",
            "prompt_id": prompt_id,
            "set": "class",
            "class": "cat",
            "index": index,
            "prompt": prompt_id,
            "clip_cosine": cosine,
            "is_correct": cosine > 0.5,
        }
        for prompt_id, values in cosines.items()
        for index, cosine in enumerate(values)
    )


def test_differences_are_finetuned_minus_baseline_of_the_same_picture():
    baseline = make_scores({"a": [0.1, 0.2], "b": [0.3, 0.6]})
    finetuned = make_scores({"a": [0.4, 0.2], "b": [0.2, 0.6]}).iloc[::-1]
    pairs = pair_scores(baseline, finetuned)
    np.testing.assert_allclose(pairs["difference"], [0.3, 0.0, -0.1, 0.0], atol=1e-12)
    assert pairs["is_correct_finetuned"].tolist() == [False, False, False, True]


def test_a_prompt_counts_once_whatever_its_number_of_pictures():
    baseline = make_scores({"a": [0.0, 0.0, 0.0], "b": [0.0]})
    pairs = pair_scores(baseline, make_scores({"a": [0.3, 0.3, 0.3], "b": [0.1]}))
    prompts = average_per_prompt(pairs)
    assert prompts["num_images"].tolist() == [3, 1]
    assert prompts["difference"].mean() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("finetuned", "message"),
    [
        (make_scores({"a": [0.1]}), "do not pair up"),
        (make_scores({"a": [0.1, 0.2, 0.3]}), "do not pair up"),
        (pd.concat([make_scores({"a": [0.1, 0.2]})] * 2), "twice"),
        (make_scores({"a": [0.1, np.nan]}), "picture 1 of a has no clip_cosine"),
    ],
)
def test_scores_that_do_not_pair_up_are_refused(finetuned, message):
    with pytest.raises(ValueError, match=message):
        pair_scores(make_scores({"a": [0.1, 0.2]}), finetuned)


def test_zero_differences_give_an_interval_of_exactly_zero_and_p_one():
    assert bootstrap_interval(np.zeros(50), PARAMS) == (0.0, 0.0)
    assert sign_flip_p_value(np.zeros(50), PARAMS) == 1.0


def test_one_prompt_has_no_interval():
    assert np.isnan(bootstrap_interval(np.array([0.3]), PARAMS)).all()


def test_interval_is_negated_with_the_differences():
    differences = np.random.default_rng(0).normal(0.2, 1.0, 40)
    low, high = bootstrap_interval(differences, PARAMS)
    assert low < differences.mean() < high
    np.testing.assert_allclose(bootstrap_interval(-differences, PARAMS), [-high, -low], rtol=0.15)


def test_interval_resamples_prompts_not_pictures():
    """Thirty equal pictures a prompt tell no more than one: the interval must not shrink."""
    effects = np.random.default_rng(1).normal(0.1, 0.3, 10)
    once = {str(i): [effect] for i, effect in enumerate(effects)}
    often = {name: values * 30 for name, values in once.items()}
    widths = []
    for finetuned in (once, often):
        baseline = {name: [0.0] * len(values) for name, values in finetuned.items()}
        prompts = average_per_prompt(pair_scores(make_scores(baseline), make_scores(finetuned)))
        low, high = bootstrap_interval(prompts["difference"].to_numpy(), PARAMS)
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0], rel=1e-6)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    params = PARAMS.model_copy(update={"num_resamples": 200})
    intervals = [bootstrap_interval(rng.normal(0.3, 1.0, 50), params) for _ in range(200)]
    coverage = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert 0.9 <= coverage <= 0.99  # 0.95 within three standard errors of 200 draws


def test_false_alarms_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(3)
    p_values = [sign_flip_p_value(rng.normal(size=8), PARAMS) for _ in range(300)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.09  # 0.05 and three standard errors


@pytest.mark.parametrize("num_prompts", [1, 2, 5, 6])
def test_p_value_of_few_prompts_of_one_sign_is_exact(num_prompts):
    differences = np.linspace(0.1, 0.2, num_prompts)
    expected = 2 / 2**num_prompts
    assert sign_flip_p_value(differences, PARAMS) == pytest.approx(expected)
    assert smallest_p_value(num_prompts, PARAMS.num_resamples) == pytest.approx(expected)


def test_p_value_counts_the_sign_patterns_that_are_as_extreme():
    """Of the 8 sums of ±1 ±2 ±4, four are as far from 0 as 5: 7, 5, -5 and -7."""
    assert sign_flip_p_value(np.array([-1.0, 2.0, 4.0]), PARAMS) == pytest.approx(4 / 8)


def test_same_seed_gives_the_same_interval_and_p_value():
    differences = np.random.default_rng(4).normal(0.1, 1.0, 50)
    assert bootstrap_interval(differences, PARAMS) == bootstrap_interval(differences, PARAMS)
    assert sign_flip_p_value(differences, PARAMS) == sign_flip_p_value(differences, PARAMS)
