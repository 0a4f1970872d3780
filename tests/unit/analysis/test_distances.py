import math

import numpy as np
import pytest

from stages.analysis import distances
from stages.analysis.distances import (
    DISTANCES,
    compute_gaussian_kernel,
    measure_diversity,
    take_reference,
)
from tests.unit.analysis.builders import compute_distance

KID, CMMD = DISTANCES["kid"], DISTANCES["cmmd"]


def draw_unit(count, seed, shift=0.0, size=6):
    embeds = np.random.default_rng(seed).normal(size=(count, size))
    embeds[:, 0] += shift
    return (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).astype(np.float32)


def loop_over_kid(a, b):
    """Binkowski et al. 2018, eq. 4 with their kernel, one pair of pictures at a time."""

    def kernel(x, y):
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(x):
        pairs = [kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        return sum(pairs) / (len(x) * (len(x) - 1))

    across = sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
    return within(a) + within(b) - 2 * across


def test_kid_equals_a_double_loop():
    a, b = draw_unit(7, 0), draw_unit(11, 1, shift=1)
    assert compute_distance(a, b, KID) == pytest.approx(loop_over_kid(a, b), rel=1e-9)


def test_kid_is_torch_fidelitys_formula():
    # polynomial_mmd with degree 3, gamma 1 / E, coef0 1 and mmd2_unbiased, for equal counts.
    a, b = draw_unit(9, 2).astype(float), draw_unit(9, 3, shift=1).astype(float)
    m = len(a)
    k_xx, k_yy, k_xy = ((x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    kt_xx = (k_xx.sum(axis=1) - np.diag(k_xx)).sum()
    kt_yy = (k_yy.sum(axis=1) - np.diag(k_yy)).sum()
    expected = (kt_xx + kt_yy) / (m * (m - 1)) - 2 * k_xy.sum() / m**2
    assert compute_distance(a, b, KID) == pytest.approx(expected, rel=1e-9)


def test_kid_of_two_halves_of_one_set_is_zero_on_average():
    draws = [
        compute_distance(draw_unit(20, seed), draw_unit(30, 10_000 + seed), KID)
        for seed in range(400)
    ]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error
    assert min(draws) < 0  # unbiased: a biased estimate is never below 0


def test_cmmd_of_two_single_pictures_is_the_closed_formula():
    # k(x, x) = 1, so 1000 * (2 - 2 exp(-|x - y|^2 / 200)); orthogonal unit vectors: |x - y|^2 = 2.
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    expected = 1000 * (2 - 2 * math.exp(-2 / 200))
    assert compute_distance(a, b, CMMD) == pytest.approx(expected, rel=1e-9)


def test_cmmd_of_two_and_one_pictures_is_the_closed_formula():
    a, b = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[-1.0, 0.0]])
    k2, k4 = math.exp(-2 / 200), math.exp(-4 / 200)  # squared distances 2 and 4
    expected = 1000 * ((2 + 2 * k2) / 4 + 1 - 2 * (k4 + k2) / 2)
    assert compute_distance(a, b, CMMD) == pytest.approx(expected, rel=1e-9)


def test_the_same_set_has_a_cmmd_of_zero_and_a_shifted_one_is_farther():
    a, near, far = draw_unit(40, 0), draw_unit(40, 1, shift=1), draw_unit(40, 1, shift=3)
    assert compute_distance(a, a, CMMD) == pytest.approx(0, abs=1e-9)
    assert 0 < compute_distance(a, near, CMMD) < compute_distance(a, far, CMMD)


def test_a_gaussian_kernel_of_a_picture_with_itself_is_one():
    a = draw_unit(5, 0)
    np.testing.assert_allclose(np.diag(compute_gaussian_kernel(a, a)), 1, rtol=0, atol=1e-8)


def test_diversity_is_one_minus_the_mean_cosine_of_distinct_pairs():
    a = draw_unit(6, 0)
    cosines = [float(a[i] @ a[j]) for i in range(6) for j in range(i)]
    assert measure_diversity(a) == pytest.approx(1 - np.mean(cosines), rel=1e-5)


def test_equal_pictures_have_no_diversity_and_opposite_ones_two():
    x = np.array([[1.0, 0.0]])
    assert measure_diversity(np.repeat(x, 3, axis=0)) == pytest.approx(0)
    assert measure_diversity(np.concatenate([x, -x])) == pytest.approx(2)


@pytest.mark.parametrize("distance", [KID, CMMD])
def test_a_distance_is_the_same_in_parts(distance, monkeypatch):
    a, b = draw_unit(7, 0), draw_unit(11, 1, shift=1)
    whole = compute_distance(a, b, distance)
    monkeypatch.setattr(distances, "ROWS_AT_ONCE", 3)
    assert compute_distance(a, b, distance) == pytest.approx(whole, rel=1e-9)


def test_of_many_training_pictures_the_first_are_compared_with():
    embeds = np.zeros((10_001, 2))
    assert len(take_reference(embeds)) == 10_000
    assert len(take_reference(embeds[:7])) == 7
