import math

import pandas as pd
import pytest

from stages.reporting.tradeoffs import draw_effects, draw_forgetting

FORGETTING = {
    "gain_in_domain": 0.03,
    "gain_ci_low": 0.01,
    "gain_ci_high": 0.06,
    "change_out_of_domain": -0.02,
    "change_ci_low": -0.03,
    "change_ci_high": 0.01,
}
METRIC = {
    "set": "in_domain",
    "metric": "kid",
    "direction": "lower",
    "difference": -2.0,
    "ci_low": -3.0,
    "ci_high": -0.5,
    "effect_size": -0.8,
    "difference_sd": 2.5,
}


def test_forgetting_has_the_gain_across_and_the_loss_down():
    figure = draw_forgetting(FORGETTING, 0.95)
    (dot,) = figure.data
    assert (list(dot.x), list(dot.y)) == ([0.03], [-0.02])
    assert (dot.error_x.array[0], dot.error_x.arrayminus[0]) == pytest.approx((0.03, 0.02))
    assert (dot.error_y.array[0], dot.error_y.arrayminus[0]) == pytest.approx((0.03, 0.01))
    assert tuple(figure.layout.xaxis.range) == tuple(figure.layout.yaxis.range)


def test_forgetting_without_intervals_is_still_drawn():
    row = FORGETTING | dict.fromkeys(("gain_ci_low", "gain_ci_high"), math.nan)
    assert draw_forgetting(row | {"gain_in_domain": 0.0}, 0.95).data


def test_an_effect_is_turned_so_that_right_is_better():
    dot = draw_effects(pd.DataFrame([METRIC]), {"kid": "KID"}, 0.95).data[0]
    assert list(dot.x) == [0.8]
    assert dot.x[0] - dot.error_x.arrayminus[0] == pytest.approx(0.2)  # 0.5 over a spread of 2.5
    assert dot.x[0] + dot.error_x.array[0] == pytest.approx(1.2)


def test_a_metric_of_the_subject_makes_no_row():
    of_subject = METRIC | {"set": "subject", "metric": "subject_similarity"}
    figure = draw_effects(pd.DataFrame([METRIC, of_subject]), {}, 0.95)
    assert figure.layout.yaxis.ticktext == ("kid",)


def test_an_effect_of_zero_keeps_its_interval():
    row = METRIC | {"difference": 0.0, "effect_size": 0.0, "ci_low": -1.0, "ci_high": 1.0}
    dot = draw_effects(pd.DataFrame([row]), {"kid": "KID"}, 0.95).data[0]
    assert (dot.error_x.arrayminus[0], dot.error_x.array[0]) == pytest.approx((0.4, 0.4))


def test_metrics_without_a_better_direction_have_no_side():
    rows = pd.DataFrame([METRIC | {"direction": "neither"}, METRIC | {"effect_size": math.nan}])
    assert [len(trace.x) for trace in draw_effects(rows, {}, 0.95).data] == [0, 0]
