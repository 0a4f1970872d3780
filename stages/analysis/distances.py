"""Metrics of several pictures: distances between two sets of embeds, and diversity within one.

Squared maximum mean discrepancies (Gretton et al. 2012) in the scorer's space of unit-norm embeds.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Embeds = NDArray[Any]
Kernel = Callable[[Embeds, Embeds], NDArray[np.float64]]

CMMD_SIGMA = 10.0
MAX_REFERENCE = 10_000
"""Training pictures that samples are compared with: the work grows with their square."""
ROWS_AT_ONCE = 256


class Distance(NamedTuple):
    """A squared maximum mean discrepancy: its kernel, its estimator, its scale."""

    kernel: Kernel
    is_unbiased: bool
    scale: float


def compute_polynomial_kernel(a: Embeds, b: Embeds) -> NDArray[np.float64]:
    """(a . b / E + 1)^3 of (N, E) and (M, E): (N, M) (Binkowski et al. 2018, eq. 4)."""
    linear = np.asarray(a, np.float64) @ np.asarray(b, np.float64).T / a.shape[1] + 1
    return linear * linear * linear  # many times as fast as ** 3


def compute_gaussian_kernel(a: Embeds, b: Embeds) -> NDArray[np.float64]:
    """exp(-|a - b|^2 / (2 sigma^2)) of (N, E) and (M, E): (N, M) (Jayasumana et al. 2024)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.exp(-np.maximum(squares, 0) / (2 * CMMD_SIGMA**2))


DISTANCES = {
    "kid": Distance(compute_polynomial_kernel, is_unbiased=True, scale=1.0),
    "cmmd": Distance(compute_gaussian_kernel, is_unbiased=False, scale=1000.0),
}
"""Of the pictures of a set to the training pictures, by the name of the metric."""


def take_reference(training_embeds: Embeds) -> Embeds:
    """The first training pictures, (M, E): `prepare` has put them in random order."""
    return training_embeds[:MAX_REFERENCE]


def average_to(a: Embeds, b: Embeds, kernel: Kernel) -> NDArray[np.float64]:
    """Mean kernel of each of N embeds to M others, (N,)."""
    return np.concatenate([values.mean(axis=1) for _, values in iterate_rows(a, b, kernel)])


def iterate_rows(
    a: Embeds, b: Embeds, kernel: Kernel
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Some rows at a time of the kernel matrix (N, M), which may not fit in memory."""
    for first in range(0, len(a), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        yield rows, kernel(a[rows], b)


def measure_diversity(embeds: Embeds) -> float:
    """1 - mean cosine of the pairs of unit-norm embeds, (N, E), N at least 2; in [0, 2]."""
    num_images = len(embeds)
    total = np.square(np.asarray(embeds, np.float64).sum(axis=0)).sum()
    return float(1 - (total - num_images) / (num_images * (num_images - 1)))


DIVERSITIES = {"diversity": measure_diversity}
"""Of the pictures of a prompt, by the name of the metric."""


def average_within(embeds: Embeds, distance: Distance) -> float:
    """Mean kernel of the pairs of N embeds, those of an embed with itself left out if unbiased."""
    total, itself, num_images = 0.0, 0.0, len(embeds)
    for rows, values in iterate_rows(embeds, embeds, distance.kernel):
        total += values.sum()
        itself += np.trace(values[:, rows])
    if not distance.is_unbiased:
        return total / num_images**2
    return (total - itself) / (num_images * (num_images - 1))
