import numpy as np
import pytest
from scipy import stats

from stages.analysis.effect import compute_effect_size, find_smallest_detectable_difference
from tests.unit.analysis.builders import PARAMS


def test_effect_size_is_mean_over_standard_deviation():
    assert compute_effect_size(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)  # sd 1, ddof 1
    assert compute_effect_size(np.array([-1.0, -2.0, -3.0])) == pytest.approx(-2.0)


@pytest.mark.parametrize("differences", [[0.5], [0.5, 0.5], [0.0, 0.0]])
def test_effect_size_without_spread_is_no_number(differences):
    assert np.isnan(compute_effect_size(np.array(differences)))


def test_smallest_detectable_difference_is_found_in_80_percent():
    """The power of a t-test, from the noncentral t: another road to the same number."""
    differences = np.random.default_rng(0).normal(0.0, 2.0, 50)
    smallest = find_smallest_detectable_difference(differences, PARAMS)
    noncentrality = smallest / (differences.std(ddof=1) / 50**0.5)
    critical = stats.t.ppf(0.975, 49)
    power = stats.nct.sf(critical, 49, noncentrality) + stats.nct.cdf(-critical, 49, noncentrality)
    assert power == pytest.approx(0.8, abs=0.01)


def test_so_few_prompts_that_no_p_value_is_small_enough_can_show_nothing():
    assert np.isnan(find_smallest_detectable_difference(np.arange(5.0), PARAMS))
    assert np.isfinite(find_smallest_detectable_difference(np.arange(6.0), PARAMS))
