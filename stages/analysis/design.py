"""Which prompts and pictures would settle a question: variances, and what a design finds."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from stages.analysis.effect import POWER
from stages.config.params import CompareParams

MOST_PROMPTS = 10**6
"""Beyond it no number of prompts is named."""


class Spread(NamedTuple):
    """Standard deviations of what adds up to the difference of one picture.

    Attributes:
        prompts: Of the prompts' true differences. With one picture a prompt it holds the noise,
            too.
        pictures: Of the noise of a picture; NaN where no prompt has two.
        seeds: Of the training seed; 0 where one is taken as it is.
    """

    prompts: float
    pictures: float
    seeds: float = 0.0


def measure_spread(pairs: pd.DataFrame) -> Spread:
    """Split the variance of differences, a row a picture, in two (one-way analysis of variance).

    Args:
        pairs: Columns prompt_id and difference; with a column `side` pictures are not paired (see
            `independent.draw_scores`), and the noise is that of a picture of each side together.
    """
    sides = [rows for _, rows in pairs.groupby("side")] if "side" in pairs else [pairs]
    tables = [
        rows.groupby("prompt_id", sort=False)["difference"].agg(["mean", "var", "size"])
        for rows in sides
    ]
    noises = [_pool_variances(table) for table in tables]
    noise, means = sum(noises), sum(table["mean"] for table in tables)
    if len(tables[0]) == 1:
        return Spread(math.nan, math.sqrt(noise))
    of_means = float(means.var(ddof=1))
    share = sum(
        one * float((1 / table["size"]).mean()) for one, table in zip(noises, tables, strict=True)
    )
    share = 0.0 if math.isnan(noise) else share
    return Spread(math.sqrt(max(of_means - share, 0)), math.sqrt(noise))


def find_standard_error(
    spread: Spread, num_prompts: int, num_pictures: float, num_seeds: int = 1
) -> float:
    """Of the mean over S seeds x P prompts x K pictures: sqrt(v_S/S + v_P/P + v_K/(S P K))."""
    noise = 0.0 if math.isnan(spread.pictures) else spread.pictures**2 / num_pictures
    each = spread.prompts**2 / num_prompts + noise / (num_prompts * num_seeds)
    return math.sqrt(spread.seeds**2 / num_seeds + each)


def find_detectable(
    spread: Spread, num_prompts: int, num_pictures: float, num_seeds: int, params: CompareParams
) -> float:
    """The true difference that such a design finds four times in five (Bloom 1995).

    t has P - 1 degrees of freedom; with seeds of their own spread the fewer of P - 1 and S - 1.
    NaN where there are none.
    """
    freedom = num_prompts - 1
    if spread.seeds:
        freedom = min(freedom, num_seeds - 1)
    if freedom < 1:
        return math.nan
    error = find_standard_error(spread, num_prompts, num_pictures, num_seeds)
    return _sum_quantiles(freedom, POWER, params) * error


def count_more_prompts(
    spread: Spread, num_prompts: int, num_pictures: float, params: CompareParams
) -> float:
    """How many more prompts of one picture would settle the question four times in five.

    Settled is "no difference shown" where there is none, and "better" or "worse" where the true
    difference is `smallest_relevant_difference`. Of both the first needs more: the interval has to
    lie within ± that difference (Schuirmann 1987). NaN where a million would not do.
    """
    relevant = params.smallest_relevant_difference
    if relevant == 0 or math.isnan(spread.prompts):
        return math.nan
    old = num_prompts**2 * find_standard_error(spread, num_prompts, num_pictures) ** 2
    new = find_standard_error(spread, 1, 1) ** 2

    def is_settled(more: int) -> bool:
        total = num_prompts + more
        error = math.sqrt(old + more * new) / total
        return _sum_quantiles(total - 1, (1 + POWER) / 2, params) * error <= relevant

    candidates = range(max(0, 2 - num_prompts), MOST_PROMPTS)
    low, high = 0, len(candidates)
    while low < high:  # more prompts always help
        middle = (low + high) // 2
        low, high = (low, middle) if is_settled(candidates[middle]) else (middle + 1, high)
    return float(candidates[low]) if low < len(candidates) else math.nan


def _pool_variances(prompts: pd.DataFrame) -> float:
    """Of the pictures of a prompt, over all prompts; NaN where none has two."""
    freedom = prompts["size"] - 1
    if not freedom.sum():
        return math.nan
    return float((prompts["var"].fillna(0) * freedom).sum() / freedom.sum())


def _sum_quantiles(freedom: int, power: float, params: CompareParams) -> float:
    """In standard errors: half of the interval, and room for the estimate's own error."""
    critical = (1 + params.confidence_level) / 2
    return float(np.sum(stats.t.ppf([critical, power], freedom)))
