import numpy as np
import pytest

from stages.analysis import resampling
from stages.analysis.paired import average_per_prompt, pair_scores
from stages.analysis.resampling import bootstrap_interval, sign_flip_p_value, smallest_p_value
from tests.unit.analysis.builders import PARAMS, make_scores


def test_zero_differences_give_an_interval_of_exactly_zero_and_p_one():
    assert bootstrap_interval(np.zeros(50), PARAMS) == (0.0, 0.0)
    assert sign_flip_p_value(np.zeros(50), PARAMS) == 1.0


def test_one_prompt_has_no_interval():
    assert np.isnan(bootstrap_interval(np.array([0.3]), PARAMS)).all()


def test_interval_is_negated_with_the_differences():
    differences = np.random.default_rng(0).normal(0.2, 1.0, 40)
    low, high = bootstrap_interval(differences, PARAMS)
    assert low < differences.mean() < high
    np.testing.assert_allclose(bootstrap_interval(-differences, PARAMS), [-high, -low])


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


def test_interval_of_few_values_is_students():
    """Of 1, 2, 3: mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.3027."""
    low, high = bootstrap_interval(np.array([1.0, 2.0, 3.0]), PARAMS)
    assert [low, high] == pytest.approx([2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5], abs=1e-4)


def test_interval_is_finite_where_most_values_are_equal():
    differences = np.zeros(50)
    differences[0] = 0.25  # a resample without it has no spread
    low, high = bootstrap_interval(differences, PARAMS)
    assert low < 0
    assert 0.005 < high < 0.25


@pytest.mark.parametrize("num_prompts", [1, 2, 5, 6])
def test_p_value_of_few_prompts_of_one_sign_is_exact(num_prompts):
    differences = np.linspace(0.1, 0.2, num_prompts)
    expected = 2 / 2**num_prompts
    assert sign_flip_p_value(differences, PARAMS) == pytest.approx(expected)
    assert smallest_p_value(num_prompts, PARAMS.num_resamples) == pytest.approx(expected)


def test_p_value_counts_the_sign_patterns_that_are_as_extreme():
    """Of the 8 sums of ±1 ±2 ±4, four are as far from 0 as 5: 7, 5, -5 and -7."""
    assert sign_flip_p_value(np.array([-1.0, 2.0, 4.0]), PARAMS) == pytest.approx(4 / 8)


def test_p_values_of_several_rows_are_those_of_each():
    rows = np.random.default_rng(5).normal(0.5, 1.0, (3, 5))
    expected = [sign_flip_p_value(row, PARAMS) for row in rows]
    np.testing.assert_allclose(sign_flip_p_value(rows, PARAMS), expected)


def test_same_seed_gives_the_same_interval_and_p_value():
    differences = np.random.default_rng(4).normal(0.1, 1.0, 50)
    assert bootstrap_interval(differences, PARAMS) == bootstrap_interval(differences, PARAMS)
    assert sign_flip_p_value(differences, PARAMS) == sign_flip_p_value(differences, PARAMS)


@pytest.mark.parametrize("num_prompts", [9, 40])
def test_resamples_in_parts_give_the_same_interval_and_p_value(num_prompts, monkeypatch):
    differences = np.random.default_rng(5).normal(0.2, 1.0, num_prompts)

    def measure():
        return bootstrap_interval(differences, PARAMS), sign_flip_p_value(differences, PARAMS)

    whole = measure()
    monkeypatch.setattr(resampling, "VALUES_AT_ONCE", 700)
    assert measure() == whole
