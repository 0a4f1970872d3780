from typing import get_args

import pytest

from stages.config.params import ExtraMetric
from stages.files.tables import SCORES_SCHEMA
from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.registry import (
    COMPANIONS,
    EXTRA_METRICS,
    METRICS,
    SET_METRICS,
    describe_metrics,
)

SCORER = Origin("a scorer", "its weights", "its resize filter")


def test_params_allow_exactly_the_extra_metrics_that_there_are():
    assert set(get_args(ExtraMetric)) == set(EXTRA_METRICS)


def test_names_and_columns_are_distinct():
    everything = [*METRICS, *SET_METRICS, *EXTRA_METRICS.values()]
    assert len({metric.name for metric in everything}) == len(everything)
    columns = [metric.column for metric in METRICS] + list(COMPANIONS)
    assert len(set(columns)) == len(columns)


def test_every_metric_of_a_picture_has_a_column_in_the_table():
    assert {metric.column for metric in METRICS} <= set(SCORES_SCHEMA)


@pytest.mark.parametrize("metric", [*METRICS, *SET_METRICS, *EXTRA_METRICS.values()])
def test_facts_are_whole(metric):
    values = metric.describe(SCORER).model_dump()
    assert values.pop("column") or metric.unit != "picture"
    assert all(values.values())


def test_facts_names_the_scorer_only_where_it_is_used():
    facts = describe_metrics(METRICS, SCORER)
    assert facts["clip_cosine"].model == "a scorer"
    assert facts["kid"].preprocessing == "its resize filter"
    assert facts["sharpness"].model == "none"


@pytest.mark.parametrize("name", EXTRA_METRICS)
def test_extra_metrics_say_which_weights_and_how_large(name):
    metric = EXTRA_METRICS[name]
    assert metric.origin is not None
    assert metric.size.endswith(("GB", "MB"))
    assert metric.direction == "higher"
