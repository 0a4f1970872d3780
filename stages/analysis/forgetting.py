"""Forgetting: what was gained where the model was trained, and what that did elsewhere."""

import math

import pandas as pd

from stages.analysis.agreement import SIGNS
from stages.analysis.resampling import Interval
from stages.analysis.results import FORGETTING_SCHEMA


def weigh_forgetting(by_metric: pd.DataFrame) -> pd.DataFrame:
    """A row a metric with a better direction in both sets; all changes above zero are better.

    `trade_off` is the change out of domain for each unit gained in domain, below zero where the one
    was paid for by the other; it and its interval are NaN unless the gain's lies above zero.

    Args:
        by_metric: As `compare_metrics` gives it.
    """
    judged = by_metric[by_metric["direction"] != "neither"]
    in_domain, out_of_domain = (
        {row["metric"]: _orient(row) for row in judged[judged["set"] == name].to_dict("records")}
        for name in ("in_domain", "marketing")
    )
    rows = []
    for metric, gain in in_domain.items():
        if metric in out_of_domain:
            change = out_of_domain[metric]
            trade_off = change[0] / gain[0] if gain[1] > 0 else math.nan
            rows.append((metric, *gain, *change, trade_off, *divide_intervals(change, gain)))
    return pd.DataFrame(rows, columns=list(FORGETTING_SCHEMA))


def divide_intervals(
    numerator: tuple[float, float, float], denominator: tuple[float, float, float]
) -> Interval:
    """Interval of the ratio of two independent estimates, each (value, low, high).

    Donner and Zou (2012, "Closed-form confidence intervals", eq. 9) for intervals symmetric about
    their values, where it is Fieller's; NaN unless the denominator's interval lies above zero.
    """
    if not denominator[1] > 0:
        return Interval(math.nan, math.nan)
    (above, *_), (below, *_) = numerator, denominator
    above_width, below_width = (high - value for value, _, high in (numerator, denominator))
    scale = below**2 - below_width**2
    root = math.sqrt(scale * above_width**2 + (above * below_width) ** 2)
    return Interval((above * below - root) / scale, (above * below + root) / scale)


def _orient(row: dict) -> tuple[float, float, float]:
    """Difference and interval, negated where lower is better."""
    if SIGNS[row["direction"]] > 0:
        return row["difference"], row["ci_low"], row["ci_high"]
    return -row["difference"], -row["ci_high"], -row["ci_low"]
