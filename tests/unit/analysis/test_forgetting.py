import numpy as np
import pandas as pd
import pytest

from stages.analysis.forgetting import divide_intervals, weigh_forgetting


def make_row(set_name: str, metric: str, direction: str, *estimate: float) -> dict:
    values = dict(zip(("difference", "ci_low", "ci_high"), estimate, strict=True))
    return {"set": set_name, "metric": metric, "direction": direction, **values}


def test_trade_off_is_the_change_elsewhere_for_each_unit_gained():
    table = weigh_forgetting(
        pd.DataFrame(
            [
                make_row("in_domain", "clip_cosine", "higher", 0.2, 0.1, 0.3),
                make_row("marketing", "clip_cosine", "higher", -0.1, -0.15, -0.05),
            ]
        )
    )
    metric, *values = table.iloc[0].tolist()
    assert metric == "clip_cosine"
    interval = divide_intervals((-0.1, -0.15, -0.05), (0.2, 0.1, 0.3))
    assert values == [0.2, 0.1, 0.3, -0.1, -0.15, -0.05, -0.5, *interval]


def test_ends_of_a_ratios_interval_are_where_the_line_leaves_the_joint_interval():
    change, gain = (-0.1, -0.15, -0.05), (0.2, 0.1, 0.3)
    interval = divide_intervals(change, gain)
    for end in interval:  # Fieller: (a - r b)^2 = w_a^2 + r^2 w_b^2
        assert (change[0] - end * gain[0]) ** 2 == pytest.approx(0.05**2 + (end * 0.1) ** 2)
    assert interval.low < -0.5 < interval.high


def test_a_ratios_interval_covers_as_often_as_its_parts():
    rng = np.random.default_rng(0)
    values = rng.normal([-1.0, 4.0], 1.0, size=(2000, 2))
    hits = [
        low <= -0.25 <= high
        for low, high in (
            divide_intervals(*((v, v - 1.96, v + 1.96) for v in pair)) for pair in values
        )
        if not np.isnan(low)
    ]
    assert len(hits) > 1900
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_gains_are_above_zero_where_lower_is_better():
    table = weigh_forgetting(
        pd.DataFrame(
            [
                make_row("in_domain", "retrieval_rank", "lower", -2.0, -3.0, -1.0),
                make_row("marketing", "retrieval_rank", "lower", 1.0, 0.5, 1.5),
            ]
        )
    )
    row = table.iloc[0]
    assert row[["gain_in_domain", "gain_ci_low", "gain_ci_high"]].tolist() == [2.0, 1.0, 3.0]
    assert row["change_out_of_domain"] == -1.0
    assert row["trade_off"] == pytest.approx(-0.5)


def test_without_a_gain_there_is_no_trade_off():
    table = weigh_forgetting(
        pd.DataFrame(
            [
                make_row("in_domain", "clip_cosine", "higher", 0.2, -0.1, 0.5),
                make_row("marketing", "clip_cosine", "higher", -0.1, -0.15, -0.05),
            ]
        )
    )
    assert table.filter(like="trade_off").isna().all(axis=None)


def test_only_metrics_with_a_direction_in_both_sets_are_weighed():
    table = weigh_forgetting(
        pd.DataFrame(
            [
                make_row("in_domain", "training_similarity", "higher", 0.2, 0.1, 0.5),
                make_row("marketing", "training_similarity", "neither", 0.1, 0.0, 0.2),
                make_row("in_domain", "kid", "lower", 0.2, 0.1, 0.5),
            ]
        )
    )
    assert table.empty
