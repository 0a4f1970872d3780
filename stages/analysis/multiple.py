"""Several tests at once: the chance that any of them is a false alarm stays what was asked for."""

import numpy as np

from stages.analysis.resampling import Floats


def adjust_holm(p_values: Floats) -> Floats:
    """Adjust p-values, (M,), for all M of them (Holm 1979, "A simple sequentially rejective...").

    The k-th smallest, from k = 0, is multiplied by M - k; never below the one before it, nor
    above 1. Needs no independence between the tests. NaN is no test: it stays, and is not counted.
    """
    p_values = np.asarray(p_values)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]  # NaN come last
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
