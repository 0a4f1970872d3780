import numpy as np
import pandas as pd
import pytest

from stages.reporting.evidence import (
    group_disagreements,
    list_memorised,
    list_metrics,
    square_correlations,
)
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.metrics.registry import METRICS, describe_metrics

ROW = {
    "set": "in_domain",
    "metric": "kid",
    "direction": "lower",
    "baseline": 3.0,
    "finetuned": 2.0,
    "difference": -1.0,
    "ci_low": -2.0,
    "ci_high": -0.5,
    "p_value_holm": 0.01,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "better"),
        ({"p_value_holm": 0.06}, "better, taken alone"),
        ({"p_value_holm": np.nan}, "better"),
        ({"direction": "higher"}, "worse"),
        ({"direction": "neither"}, "lower"),
        ({"ci_high": 0.5}, ""),
        ({"ci_low": np.nan, "ci_high": np.nan}, ""),
        ({"direction": "lower", "difference": 1.0, "ci_low": 0.5, "ci_high": 2.0}, "worse"),
    ],
)
def test_a_change_reads_as_better_only_in_its_direction_and_outside_its_interval(changes, expected):
    (row,) = list_metrics(pd.DataFrame([ROW | changes]), 0.95)["in_domain"]
    assert row["reads_as"] == expected


def test_correlations_are_a_symmetric_square_without_a_diagonal():
    table = pd.DataFrame(
        [
            ("in_domain", "a", "b", 0.5, 9),
            ("in_domain", "a", "c", np.nan, 9),
            ("in_domain", "b", "c", -0.2, 9),
        ],
        columns=["set", "metric_a", "metric_b", "spearman", "num_prompts"],
    )
    (square,) = square_correlations(table, pd.DataFrame([ROW]))
    assert square.metrics == ["a", "b", "c"]
    assert square.rows == [[None, 0.5, None], [0.5, None, -0.2], [None, -0.2, None]]


def test_a_correlation_above_zero_is_agreement_whatever_the_directions():
    table = pd.DataFrame(
        [("in_domain", "a", "rank", -0.5, 9), ("in_domain", "rank", "kid", 0.4, 9)],
        columns=["set", "metric_a", "metric_b", "spearman", "num_prompts"],
    )
    rows = [ROW, ROW | {"metric": "rank"}, ROW | {"metric": "a", "direction": "higher"}]
    (square,) = square_correlations(table, pd.DataFrame(rows))
    assert square.rows[0][1] == 0.5  # higher against lower: turned
    assert square.rows[1][2] == 0.4  # lower against lower: as it is


def test_a_disagreement_says_which_metric_calls_it_better():
    table = pd.DataFrame(
        [
            {
                "set": "in_domain",
                "metric_a": "clip_cosine",
                "metric_b": "retrieval_rank",
                "difference_a": 0.1,
                "difference_b": 2.0,
            }
        ]
    )
    (group,) = group_disagreements(table, describe_metrics(METRICS, PIXELS))
    assert group.metrics == ("clip_cosine", "retrieval_rank")
    assert [said[-1] for said in group.pictures[0]["said"]] == ["better", "worse"]


def test_nearest_pictures_come_first_with_the_caption_of_their_neighbour():
    table = pd.DataFrame(
        {
            "file_name": ["x", "y"],
            "nearest_training_cosine": [0.2, 0.9],
            "nearest_training_id": ["b", "a"],
        }
    )
    baseline = table.assign(nearest_training_cosine=[0.3, 0.7]).iloc[::-1]
    rows = list_memorised(baseline, table, pd.Series({"a": "a cat", "b": "a dog"}))
    assert [row["baseline_cosine"] for row in rows] == [0.7, 0.3]
    assert [row["training_caption"] for row in rows] == ["a cat", "a dog"]
    assert rows[0]["nearest_training_cosine"] == 0.9
