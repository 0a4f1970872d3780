"""Intervals and p-values of a mean difference, by resampling one value a prompt.

Why these, and how often they are right: docs/adr/0011-statistics.md.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from stages.config.params import CompareParams

Floats = NDArray[np.float64]

FEWEST_FOR_BOOTSTRAP = 6
"""Fewer values repeat so often in a resample that its spread is noise."""

MANY = 1000
"""With more values Student's t is the resamples' to three digits, and takes no time."""

VALUES_AT_ONCE = 2**22
"""Of all resamples that are in memory: of 30,000 prompts not all are at once."""

_ROUNDING = 1e-12
"""A resample whose variance is so much smaller than the data's has one value only."""


class Interval(NamedTuple):
    """Confidence limits; both NaN where there is only one value."""

    low: float
    high: float


def bootstrap_interval(differences: Floats, params: CompareParams) -> Interval:
    """Interval of the mean of differences, (P,), by a symmetric studentized bootstrap.

    mean ± q sd / sqrt(P), q the quantile of |t| over resamples (Hall 1988, "On symmetric bootstrap
    confidence intervals"). Student's t gives q for fewer than `FEWEST_FOR_BOOTSTRAP`, and where so
    many differences are equal that q is not finite, and for more than `MANY`. Equal differences
    give exactly [d, d]; a single one gives NaN.
    """
    if len(differences) <= 1:
        return Interval(np.nan, np.nan)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return Interval(float(differences[0]), float(differences[0]))
    standard_error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    half_width = _find_critical_value(differences, params) * standard_error
    return Interval(mean - half_width, mean + half_width)


def sign_flip_p_value(differences: Floats, params: CompareParams) -> float | Floats:
    """Two-sided p-value of a mean difference of zero, by flipping signs, (..., P) -> (...).

    Exact where 2^P <= num_resamples (Fisher 1935, "The Design of Experiments", section 21). For
    more than `MANY` it is Student's t test.
    """
    if differences.shape[-1] > MANY:
        return np.nan_to_num(stats.ttest_1samp(differences, 0, axis=-1).pvalue, nan=1.0)
    if differences.shape[-1] == 1:
        return np.ones(differences.shape[:-1])[()]  # both signs are as extreme; scipy wants two
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=params.num_resamples,
        axis=-1,
        batch=_count_at_once(differences.size),
        rng=np.random.default_rng(params.seed),
    )
    return test.pvalue


def smallest_p_value(num_units: int, num_resamples: int) -> float:
    """What `sign_flip_p_value` can reach at the least with so many prompts, all of one sign."""
    if num_units > MANY:
        return 0.0
    is_exact = 2**num_units <= num_resamples
    return min(1.0, 2 / 2**num_units if is_exact else 2 / (num_resamples + 1))


def _find_critical_value(differences: Floats, params: CompareParams) -> float:
    """The `confidence_level` quantile of |t|, in standard errors."""
    num_units = len(differences)
    if FEWEST_FOR_BOOTSTRAP <= num_units <= MANY:
        rng = np.random.default_rng(params.seed)
        t_values = [
            _take_t_values(differences, rng.integers(num_units, size=(count, num_units)))
            for count in split_resamples(params.num_resamples, num_units)
        ]
        quantile = np.quantile(np.concatenate(t_values), params.confidence_level, method="higher")
        if np.isfinite(quantile):
            return float(quantile)
    return float(stats.t.ppf((1 + params.confidence_level) / 2, num_units - 1))


def _count_at_once(num_values: int) -> int:
    """How many resamples of so many values fit in memory."""
    return max(1, VALUES_AT_ONCE // num_values)


def split_resamples(num_resamples: int, num_units: int) -> list[int]:
    """How many resamples to take at a time."""
    count = _count_at_once(num_units)
    return [min(count, num_resamples - first) for first in range(0, num_resamples, count)]


def _take_t_values(differences: Floats, rows: NDArray[np.int64]) -> Floats:
    """|t| of the resamples that rows (R, P) name, (R,); infinite where all values are one."""
    resamples = (differences - differences.mean())[rows]  # (R, P)
    variances = resamples.var(axis=1, ddof=1)
    is_spread = variances > _ROUNDING * differences.var()
    t_values = np.full(len(rows), np.inf)
    t_values[is_spread] = np.abs(resamples[is_spread].mean(axis=1)) * np.sqrt(
        rows.shape[1] / variances[is_spread]
    )
    return t_values
