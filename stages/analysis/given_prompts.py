"""Claims about the very prompts that were sampled: the noise is random, the prompts are given.

Each difference of a prompt's pictures, paired by noise, is a draw; prompts weigh the same. So a
class can be judged by pictures of few prompts, but nothing is said of other prompts. Why these
intervals, and how often they are right: docs/adr/0027-two-claims.md. Where pictures are not paired,
each side's of a prompt are draws of their own: docs/adr/0035-pictures-alone.md.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from stages.analysis.multiple import adjust_holm
from stages.analysis.resampling import (
    FEWEST_FOR_BOOTSTRAP,
    MANY,
    Floats,
    Interval,
    split_resamples,
)
from stages.analysis.verdict import judge
from stages.config.params import CompareParams

FEWEST_OF_A_PROMPT = 4
"""Fewer pictures of a prompt repeat so often in a resample that its spread is noise."""


def judge_given_prompts(pairs: pd.DataFrame, by: str, params: CompareParams) -> pd.DataFrame:
    """Interval, p-value and verdict of each group of prompts, taken as they are.

    The mean of the prompts' means, ± q sqrt(sum of s_p^2 / K_p) / P. q is the quantile of |t| over
    resamples of each prompt's K_p pictures (Hall 1988) where every prompt has four or more; else
    Student's t with (sum v_p)^2 / sum(v_p^2 / K_p) - 1 degrees of freedom, v_p = s_p^2 / K_p. That
    is halfway between Satterthwaite's (1946), too wide for two pictures a prompt, and Welch's
    (1947), which calls too many of ten classes. Verdicts are by p-values that are adjusted for all
    groups (Holm).

    Args:
        pairs: A row a picture: prompt_id, difference and `by`, the group. With a column `side`
            pictures are not paired: see `independent.draw_scores`. The sums above are then over
            both sides of each prompt.
        by: Column of the groups: class or prompt_id.
        params: Level, number of resamples and what is relevant.

    Returns:
        ci_low, ci_high, p_value, p_value_holm and verdict, by group in order of appearance. NaN,
        "too little data to say", where a prompt has one picture, or no prompt's pictures differ
        from each other; of differences that are all zero the interval is [0, 0].
    """
    samples = list(dict.fromkeys([by, *_name_sample(pairs)]))
    means = pairs.groupby(samples, sort=False)["difference"].agg(["mean", "var", "size"])
    means["part"] = means["var"] / means["size"]
    means["weight"] = means["part"] ** 2 / means["size"]
    groups = means.groupby(level=0, sort=False)
    num_prompts = pairs.groupby(by, sort=False)["prompt_id"].nunique()
    mean = groups["mean"].sum() / num_prompts
    variance = groups["part"].sum(skipna=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.maximum(variance**2 / groups["weight"].sum() - 1, groups["size"].min() - 1)
    error = np.sqrt(variance.where(variance > 0)) / num_prompts
    critical = pd.Series(stats.t.ppf((1 + params.confidence_level) / 2, freedom), mean.index)
    p_value = pd.Series(2 * stats.t.sf(np.abs(mean) / error, freedom), mean.index)
    sizes = groups["size"].agg(["min", "sum"])
    is_resampled = (sizes["min"] >= FEWEST_OF_A_PROMPT) & error.notna()
    is_resampled &= sizes["sum"].between(FEWEST_FOR_BOOTSTRAP, MANY)
    rows = pairs.groupby(by, sort=False).groups
    for name in is_resampled[is_resampled].index if len(mean) <= MANY else ():
        values = np.concatenate(list(_resample_t_values(pairs.loc[rows[name]], params)))
        quantile = np.quantile(values, params.confidence_level, method="higher")
        if np.isfinite(quantile):
            critical[name] = quantile
            num_as_far = (values >= abs(mean[name]) / error[name]).sum()
            p_value[name] = (num_as_far + 1) / (len(values) + 1)
    is_zero = pairs["difference"].eq(0).groupby(pairs[by], sort=False).all()
    half_width = (critical * error).mask(is_zero, 0)
    p_value = p_value.mask(is_zero, 1)
    table = pd.DataFrame(
        {
            "ci_low": mean - half_width,
            "ci_high": mean + half_width,
            "p_value": p_value,
            "p_value_holm": adjust_holm(p_value.to_numpy()),
        }
    )
    judged = zip(is_zero, table["ci_low"], table["ci_high"], table["p_value_holm"], strict=True)
    table["verdict"] = [
        judge(np.array([not is_none]), Interval(low, high), p_value, params)
        for is_none, low, high, p_value in judged
    ]
    return table


def _name_sample(pairs: pd.DataFrame) -> list[str]:
    """The columns of which each combination of values is a sample of its own."""
    return ["prompt_id", "side"] if "side" in pairs else ["prompt_id"]


def _resample_t_values(pairs: pd.DataFrame, params: CompareParams) -> Iterator[Floats]:
    """|t| of resamples within each sample, as many as are in memory at a time."""
    rng = np.random.default_rng(params.seed)
    names = [pairs[name] for name in _name_sample(pairs)]
    means = pairs["difference"].groupby(names, sort=False).transform("mean")
    centred = (pairs["difference"] - means).groupby(names, sort=False)
    samples = [values.to_numpy() for _, values in centred]
    for count in split_resamples(params.num_resamples, len(pairs)):
        total, variance = np.zeros(count), np.zeros(count)
        for values in samples:
            resamples = values[rng.integers(len(values), size=(count, len(values)))]
            total += resamples.mean(axis=1)
            variance += resamples.var(axis=1, ddof=1) / len(values)
        is_spread = variance > 0
        t_values = np.full(count, np.inf)
        t_values[is_spread] = np.abs(total[is_spread]) / np.sqrt(variance[is_spread])
        yield t_values
