"""Rows of the sections on metrics, disagreement and memorisation, from the tables."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from stages.files.facts import Facts
from stages.reporting.words import DIRECTIONS, choose_digits

Rows = list[dict[str, Any]]
NUM_MEMORISED = 12


class Correlations(NamedTuple):
    """A square of rank correlations; the rows and columns are those of `metrics`."""

    set: str
    num_prompts: int
    metrics: list[str]
    rows: list[list[float | None]]


class Disagreement(NamedTuple):
    """The pictures on which two metrics disagree the most."""

    metrics: tuple[str, str]
    pictures: Rows


def list_metrics(by_metric: pd.DataFrame, confidence_level: float) -> dict[str, Rows]:
    """Rows of by_metric.csv by set, with decimals to show and what the change reads as."""
    rows = by_metric.assign(
        digits=[
            choose_digits(row.baseline, row.finetuned, row.difference)
            for row in by_metric.itertuples()
        ],
        reads_as=[_read_change(row, confidence_level) for row in by_metric.to_dict("records")],
    )
    return {str(name): group.to_dict("records") for name, group in rows.groupby("set", sort=False)}


def list_forgetting(forgetting: pd.DataFrame) -> Rows:
    """Rows of forgetting.csv, with decimals to show."""
    return [
        row | {"digits": choose_digits(row["gain_in_domain"], row["change_out_of_domain"])}
        for row in forgetting.to_dict("records")
    ]


def square_correlations(correlations: pd.DataFrame, by_metric: pd.DataFrame) -> list[Correlations]:
    """Rows of metric_correlations.csv as a square for each set; None where there is none.

    A metric of which lower is better is turned, so that above zero two metrics agree.
    """
    lower = by_metric[by_metric["direction"] == "lower"]
    turned = set(zip(lower["set"], lower["metric"], strict=True))
    squares = []
    for name, group in correlations.groupby("set", sort=False):
        metrics = list(dict.fromkeys([*group["metric_a"], *group["metric_b"]]))
        values = {
            frozenset((r.metric_a, r.metric_b)): r.spearman
            * (-1 if ((name, r.metric_a) in turned) != ((name, r.metric_b) in turned) else 1)
            for r in group.itertuples()
        }
        rows = [[_find(values, a, b) for b in metrics] for a in metrics]
        squares.append(Correlations(str(name), int(group["num_prompts"].max()), metrics, rows))
    return squares


def group_disagreements(
    disagreements: pd.DataFrame, facts: Mapping[str, Facts]
) -> list[Disagreement]:
    """Rows of disagreements.csv by pair of metrics, each with what both metrics say."""
    groups = []
    for (a, b), group in disagreements.groupby(["metric_a", "metric_b"], sort=False):
        columns = [
            (metric, column, choose_digits(*group[column]))
            for metric, column in ((a, "difference_a"), (b, "difference_b"))
        ]
        pictures = [
            row
            | {
                "said": [
                    (
                        metric,
                        row[column],
                        digits,
                        _judge(row[column], facts[metric].direction[row["set"]]),
                    )
                    for metric, column, digits in columns
                ]
            }
            for row in group.to_dict("records")
        ]
        groups.append(Disagreement((a, b), pictures))
    return groups


def list_memorised(baseline: pd.DataFrame, finetuned: pd.DataFrame, captions: pd.Series) -> Rows:
    """The pictures nearest to a training picture, nearest first, with its caption.

    Args:
        baseline: Rows of scores; `baseline_cosine` is what they say of the same noise.
        finetuned: Rows of scores of the same pictures.
        captions: Of the training pictures, by id.
    """
    nearest = finetuned.sort_values("nearest_training_cosine", ascending=False, kind="stable")
    nearest = nearest.head(NUM_MEMORISED)
    said = captions.loc[nearest["nearest_training_id"]].tolist()
    before = baseline.set_index("file_name")["nearest_training_cosine"]
    return nearest.assign(
        training_caption=said, baseline_cosine=before.loc[nearest["file_name"]].to_numpy()
    ).to_dict("records")


def _read_change(row: Mapping[str, Any], confidence_level: float) -> str:
    if not (row["ci_low"] > 0 or row["ci_high"] < 0):
        return ""
    is_alone = row["p_value_holm"] >= 1 - confidence_level
    return _judge(row["difference"], row["direction"]) + (", taken alone" if is_alone else "")


def _judge(difference: float, direction: str) -> str:
    assert direction in DIRECTIONS, direction
    rose = difference > 0
    if direction == "neither":
        return "higher" if rose else "lower"
    return "better" if rose == (direction == "higher") else "worse"


def _find(values: Mapping[frozenset[str], float], a: str, b: str) -> float | None:
    value = values.get(frozenset((a, b)))
    return None if a == b or value is None or pd.isna(value) else float(value)
