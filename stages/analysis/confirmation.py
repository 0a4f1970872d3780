"""Which metrics people's eyes confirm: signs of a pair's change, and its rank over prompts."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stages.analysis.multiple import adjust_holm
from stages.analysis.results import CONFIRMATION_SCHEMA, OPPOSED_SCHEMA

NUM_OPPOSED = 6
"""Pairs of a question and metric on which people and the metric are shown to disagree."""
SIGNS = {"higher": 1, "lower": -1}
EVEN = 0.5
"""A share of votes, or of agreement, that says nothing."""


def confirm_metrics(
    prompts: pd.DataFrame, pictures: pd.DataFrame, confidence_level: float
) -> pd.DataFrame:
    """A row of `CONFIRMATION_SCHEMA` a question and metric with a better direction.

    `agreement` is the share of pairs in which the metric and most raters prefer the same picture,
    apart from those without a difference for one of them; its interval is Wilson's, with pairs as
    the sample. `kendall_tau` (tau-b) is over prompts, those without a difference included. p-values
    are of a binomial test of one half, adjusted for all metrics of a question (Holm).

    Args:
        prompts: Rows of `PREFERENCE_BY_PROMPT_SCHEMA`.
        pictures: A row a picture and metric, as `paired.pair_metrics` gives them.
        confidence_level: Of the intervals, in (0, 1).
    """
    both = _join(prompts, pictures)
    rows = []
    for question, asked in both.groupby("question", sort=False):
        found = [
            {"question": question, "metric": metric, **_compare(group, confidence_level)}
            for metric, group in asked.groupby("metric", sort=False)
        ]
        adjusted = adjust_holm(np.array([row["p_value"] for row in found]))
        for row, p_value in zip(found, adjusted, strict=True):
            reads_as = _read(row, p_value, 1 - confidence_level)
            rows.append(row | {"p_value_holm": p_value, "reads_as": reads_as})
    return pd.DataFrame(rows, columns=list(CONFIRMATION_SCHEMA))


def find_opposed(prompts: pd.DataFrame, pictures: pd.DataFrame) -> pd.DataFrame:
    """Rows of `OPPOSED_SCHEMA`: the pairs where people prefer what a metric calls worse.

    Of each question and metric `NUM_OPPOSED` at most, those first on which more raters and a larger
    part of the metric's changes stand against each other. Arguments as `confirm_metrics`.
    """
    both = _join(prompts, pictures)
    size = both.groupby(["question", "metric"])["gain"].transform(
        lambda gain: gain.abs().rank(pct=True)
    )
    both["odds"] = (both["preference"] - EVEN).abs() * size
    opposed = both[both["gain"] * (both["preference"] - EVEN) < 0]
    opposed = opposed.sort_values("odds", ascending=False, kind="stable")
    worst = opposed.groupby(["question", "metric"], sort=False).head(NUM_OPPOSED)
    return worst[list(OPPOSED_SCHEMA)].reset_index(drop=True)


def _join(prompts: pd.DataFrame, pictures: pd.DataFrame) -> pd.DataFrame:
    """The changes of each metric for the pictures that were shown; `gain` is up where better."""
    judged = pictures[pictures["direction"].isin(SIGNS)]
    judged = judged.assign(gain=judged["difference"] * judged["direction"].map(SIGNS))
    columns = ["file_name", "prompt", "index", "metric", "difference", "gain"]
    return prompts.merge(judged[columns], on="file_name")


def _compare(group: pd.DataFrame, confidence_level: float) -> dict[str, Any]:
    decided = group[(group["preference"] != EVEN) & (group["gain"] != 0)]
    agree = int(((decided["preference"] > EVEN) == (decided["gain"] > 0)).sum())
    means = group.groupby("prompt_id", sort=False)[["preference", "gain"]].mean()
    is_ranked = (means.nunique() > 1).all()
    tau = stats.kendalltau(means["preference"], means["gain"]).statistic if is_ranked else math.nan
    row = {"num_pairs": len(decided), "num_prompts": len(means), "kendall_tau": float(tau)}
    if decided.empty:
        return row | dict.fromkeys(("agreement", "ci_low", "ci_high", "p_value"), math.nan)
    test = stats.binomtest(agree, len(decided))
    interval = test.proportion_ci(confidence_level, method="wilson")
    return row | {
        "agreement": agree / len(decided),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p_value": float(test.pvalue),
    }


def _read(row: Mapping[str, Any], p_value: float, alpha: float) -> str:
    if p_value < alpha and row["ci_low"] > EVEN:
        return "confirmed"
    if p_value < alpha and row["ci_high"] < EVEN:
        return "contradicted"
    return "not confirmed"
