"""How often people prefer the fine-tuned picture: a share, with raters and prompts as samples.

A vote counts 1 for the picture that was preferred, 0 for the other, and 1/2 for both where there is
no difference. Every rater sees the same prompts: the design is crossed. With one rater, prompts
alone are the sample.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from stages.analysis.resampling import Floats
from stages.analysis.results import PREFERENCE_BY_PROMPT_SCHEMA, PREFERENCE_SCHEMA

ALL = "(all)"
"""In a table, all sets or all classes; a class might be called "all"."""
_ROUNDING = 1e-12
_SWEEPS = 100
"""Means by rater and prompt are taken off in turn; where all saw all, the first is exact."""


class Share(NamedTuple):
    """A mean of votes in [0, 1] with its interval; NaN ends for one prompt."""

    share: float
    low: float
    high: float


def estimate_share(
    values: Floats, raters: Sequence[str], prompts: Sequence[str], confidence_level: float
) -> Share:
    """The mean of votes, (N,), in [0, 1], with the interval of its expectation.

    The variance of the mean is v_R + v_P - v_RP: of raters, of prompts, and of what is in both
    (Cameron, Gelbach & Miller 2011, "Robust inference with multiway clustering"). v_R and v_P, each
    less half of v_RP, have a t of their own, with R - 1 and P - 1 degrees of freedom (Banerjee
    1960); their sum is never below what prompts alone would give. The interval is Wilson's (1927)
    for a proportion of that variance: it stays in [0, 1]. Votes that are all alike are taken for as
    many independent ones as there are prompts. How often it is right: docs/adr/0031-votes.md.
    """
    rater, num_raters = _number(raters)
    prompt, num_prompts = _number(prompts)
    share = float(values.mean())
    if num_prompts == 1:
        return Share(share, math.nan, math.nan)
    level = (1 + confidence_level) / 2
    t_prompts = stats.t.ppf(level, num_prompts - 1)
    of_prompts = _cluster(values - share, prompt, num_prompts)
    variance = t_prompts**2 * of_prompts
    if num_raters > 1:
        t_raters = stats.t.ppf(level, num_raters - 1)
        of_raters = _cluster(values - share, rater, num_raters)
        shared = _measure_residual(values, rater, prompt) / 2
        both = t_raters**2 * max(0, of_raters - shared) + t_prompts**2 * max(0, of_prompts - shared)
        variance = max(variance, both)
    # Wilson's with z^2 / n for the variance in units of p (1 - p).
    is_spread = variance > _ROUNDING
    ratio = variance / (share * (1 - share)) if is_spread else t_prompts**2 / num_prompts
    middle = (share + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * share * (1 - share) + ratio**2 / 4) / (1 + ratio)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def tabulate_preference(votes: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """Rows of `PREFERENCE_SCHEMA`: for each question all pictures, each set and each class.

    Args:
        votes: A row a vote on a pair: question, rater, prompt_id, file_name, set, class, value.
        confidence_level: Of the intervals, in (0, 1).
    """
    rows = []
    for question, asked in votes.groupby("question", sort=False):
        groups = [((ALL, ALL), asked)]
        groups += [((name, ALL), group) for name, group in asked.groupby("set", sort=False)]
        groups += list(asked.groupby(["set", "class"], sort=False))
        for (set_name, class_name), group in groups:
            rows.append(
                {
                    "question": question,
                    "set": set_name,
                    "class": class_name,
                    **_describe(group, confidence_level),
                }
            )
    return pd.DataFrame(rows, columns=list(PREFERENCE_SCHEMA))


def tabulate_prompts(votes: pd.DataFrame) -> pd.DataFrame:
    """Rows of `PREFERENCE_BY_PROMPT_SCHEMA`; one prompt has no interval."""
    keys = ["question", "set", "class", "prompt_id", "file_name"]
    table = votes.groupby(keys, sort=False).agg(
        num_raters=("rater", "nunique"), preference=("value", "mean")
    )
    return table.reset_index()[list(PREFERENCE_BY_PROMPT_SCHEMA)]


def measure_rater_agreement(votes: pd.DataFrame) -> float:
    """How often two raters gave the same answer about a pair, over all twos; NaN for one rater."""
    same = total = 0
    for _, answers in votes.groupby(["question", "file_name"])["value"]:
        counts = answers.value_counts().to_numpy()
        same += int((counts * (counts - 1)).sum())
        total += len(answers) * (len(answers) - 1)
    return same / total if total else math.nan


def _describe(votes: pd.DataFrame, confidence_level: float) -> dict[str, Any]:
    values = votes["value"].to_numpy()
    found = estimate_share(
        values, votes["rater"].tolist(), votes["prompt_id"].tolist(), confidence_level
    )
    return {
        "num_raters": votes["rater"].nunique(),
        "num_prompts": votes["prompt_id"].nunique(),
        "num_votes": len(votes),
        "num_no_difference": int((values == 1 / 2).sum()),
        "preference": found.share,
        "ci_low": found.low,
        "ci_high": found.high,
    }


def _number(names: Sequence[str]) -> tuple[np.ndarray, int]:
    """Names as numbers from 0, and how many there are."""
    codes, found = pd.factorize(pd.Series(list(names)))
    return codes, len(found)


def _cluster(errors: Floats, group: np.ndarray, num_groups: int) -> float:
    """Variance of the mean of errors, (N,), whose groups are independent."""
    sums = np.bincount(group, errors, num_groups)
    return float(num_groups / (num_groups - 1) * (sums**2).sum() / len(errors) ** 2)


def _measure_residual(values: Floats, rater: np.ndarray, prompt: np.ndarray) -> float:
    """Variance of the mean by what neither rater nor prompt explains."""
    residual = values - values.mean()
    for _ in range(_SWEEPS):
        before = residual
        for group in (rater, prompt):
            residual = residual - (np.bincount(group, residual) / np.bincount(group))[group]
        if np.allclose(residual, before, rtol=0, atol=1e-12):
            break
    freedom = len(values) - (rater.max() + 1) - (prompt.max() + 1) + 1
    return float((residual**2).sum() / freedom / len(values)) if freedom > 0 else 0.0
