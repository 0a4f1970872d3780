"""Distances between two sets of embeds, and diversity within one; numpy alone.

Squared maximum mean discrepancies (Gretton et al. 2012) in the scorer's space of unit-norm embeds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Embeds = NDArray[Any]
Kernel = Callable[[Embeds, Embeds], NDArray[np.float64]]

CMMD_SIGMA = 10.0


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


KID = Distance(compute_polynomial_kernel, is_unbiased=True, scale=1.0)
CMMD = Distance(compute_gaussian_kernel, is_unbiased=False, scale=1000.0)


def compute_distance(a: Embeds, b: Embeds, distance: Distance) -> float:
    """Squared discrepancy of two sets, (N, E) and (M, E); not below 0 but by chance."""
    within = sum(_average_kernel(distance.kernel(x, x), distance.is_unbiased) for x in (a, b))
    return float(distance.scale * (within - 2 * distance.kernel(a, b).mean()))


def measure_diversity(embeds: Embeds) -> float:
    """1 - mean cosine of the pairs of unit-norm embeds, (N, E), N at least 2; in [0, 2]."""
    num_images = len(embeds)
    total = np.square(np.asarray(embeds, np.float64).sum(axis=0)).sum()
    return float(1 - (total - num_images) / (num_images * (num_images - 1)))


def _average_kernel(kernel: NDArray[np.float64], is_unbiased: bool) -> float:
    """Mean of a kernel matrix, (N, N), without its diagonal if unbiased."""
    if not is_unbiased:
        return float(kernel.mean())
    num_images = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (num_images * (num_images - 1)))
