import numpy as np
import pytest

from stages.analysis.multiple import adjust_holm


def test_the_smallest_p_value_meets_the_largest_factor():
    """Derived by hand: 3 x 0.01, then 2 x 0.03, then 1 x 0.04, which may not fall below 0.06."""
    assert adjust_holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])


def test_adjusted_p_values_end_at_one():
    assert adjust_holm(np.array([0.5, 0.6])) == pytest.approx([1.0, 1.0])


def test_one_p_value_is_left_as_it_is():
    assert adjust_holm(np.array([0.02])) == pytest.approx([0.02])


def test_what_has_no_p_value_is_no_test():
    adjusted = adjust_holm(np.array([np.nan, 0.01, 0.03]))
    assert adjusted == pytest.approx([np.nan, 0.02, 0.03], nan_ok=True)
