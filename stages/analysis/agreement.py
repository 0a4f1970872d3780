"""Where metrics agree: rank correlations over prompts, and the pictures on which they do not."""

from itertools import combinations

import numpy as np
import pandas as pd

from stages.analysis.paired import DESCRIPTION
from stages.analysis.results import DISAGREEMENTS_SCHEMA, METRIC_CORRELATIONS_SCHEMA

MAIN_METRIC = "clip_cosine"
NUM_PER_PAIR = 5
SIGNS = {"higher": 1, "lower": -1, "neither": 0}


def correlate_metrics(prompts: pd.DataFrame) -> pd.DataFrame:
    """A row a set and pair of metrics: Spearman's correlation of their differences over prompts.

    NaN where a metric is the same for all prompts. `prompts` as `average_metrics` gives them.
    """
    rows = []
    for name, group in prompts.groupby("set", sort=False):
        wide = group.set_index(["prompt_id", "metric"])["difference"].unstack(sort=False)
        correlations = wide.corr("spearman").to_numpy()
        is_present = wide.notna().to_numpy().astype(int)
        counts = is_present.T @ is_present  # prompts that have both
        rows += [
            (name, wide.columns[a], wide.columns[b], correlations[a, b], counts[a, b])
            for a, b in combinations(range(wide.shape[1]), 2)
        ]
    return pd.DataFrame(rows, columns=list(METRIC_CORRELATIONS_SCHEMA))


def find_disagreements(pictures: pd.DataFrame) -> pd.DataFrame:
    """The pictures that one metric calls better and another worse, most at odds first.

    For `MAIN_METRIC` and each other metric with a better direction, `NUM_PER_PAIR` rows at most.
    `rank_gap`, in (-1, 1), is the difference of the ranks (from worst, 0, to best, 1) that the two
    metrics give a picture's change among those of its set; positive: the first one likes it more.

    Args:
        pictures: A row a picture and metric, as `pair_metrics` gives them.
    """
    sign = pictures["direction"].map(SIGNS)
    judged = pictures.assign(gain=pictures["difference"] * sign)[sign != 0]
    judged["rank"] = judged.groupby(["set", "metric"])["gain"].rank(pct=True)
    main = judged[judged["metric"] == MAIN_METRIC]
    tables = []
    for metric in judged["metric"].unique():
        if metric != MAIN_METRIC:
            both = main.merge(
                judged[judged["metric"] == metric], on=DESCRIPTION, suffixes=("_a", "_b")
            )
            both["rank_gap"] = both["rank_a"] - both["rank_b"]
            opposed = both[both["gain_a"] * both["gain_b"] < 0]
            order = np.argsort(-opposed["rank_gap"].abs(), kind="stable")
            tables.append(opposed.iloc[order[:NUM_PER_PAIR]])
    columns = list(DISAGREEMENTS_SCHEMA)
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)
