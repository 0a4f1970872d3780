"""Figures of what was gained against what was lost: forgetting, and the effect on every metric."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from stages.config.notation import format_interval, format_signed, word_set
from stages.reporting.style import BASELINE, FINETUNED, fit_rows, style_figure, wrap_label

ROW_PX = 40
MARGIN = 1.25
"""How far the axes reach past the longest interval."""
CORNERS = {
    (1, 1): "gained in both",
    (1, -1): "learnt, but forgot",
    (-1, 1): "gained elsewhere",
    (-1, -1): "lost in both",
}
SETS = {"in_domain": ("circle", 0.14), "marketing": ("diamond", -0.14)}
"""Marker of a set of prompts, and how far it stands above its row, in rows."""


def draw_forgetting(row: Mapping[str, Any], confidence_level: float) -> go.Figure:
    """One metric's gain in domain against its change out of it, a cross of two intervals.

    Args:
        row: gain_in_domain, change_out_of_domain and both of their intervals: gain_ci_low,
            gain_ci_high, change_ci_low, change_ci_high.
        confidence_level: Of the intervals, in (0, 1).
    """
    gain = (row["gain_in_domain"], row["gain_ci_low"], row["gain_ci_high"])
    change = (row["change_out_of_domain"], row["change_ci_low"], row["change_ci_high"])
    reach = MARGIN * max((abs(v) for v in (*gain, *change) if np.isfinite(v)), default=0)
    reach = reach or 1.0
    figure = go.Figure(
        go.Scatter(
            x=[gain[0]],
            y=[change[0]],
            mode="markers",
            name="fine-tuned minus baseline",
            marker={"color": FINETUNED, "size": 13},
            error_x=_draw_interval(*gain),
            error_y=_draw_interval(*change),
            hovertemplate=(
                f"in-domain prompts {_word_interval(gain, confidence_level)}"
                f"<br>marketing prompts {_word_interval(change, confidence_level)}<extra></extra>"
            ),
        )
    )
    for (right, up), text in CORNERS.items():
        figure.add_annotation(
            x=right * reach * 0.97,
            y=up * reach * 0.94,
            text=text,
            showarrow=False,
            xanchor="right" if right > 0 else "left",
            opacity=0.7,
        )
    zero = {"zeroline": True, "zerolinecolor": BASELINE, "zerolinewidth": 2}
    style_figure(figure, height_px=400)
    figure.update_xaxes(title_text="change on in-domain prompts", range=[-reach, reach], **zero)
    return figure.update_yaxes(
        title_text="change on marketing prompts", range=[-reach, reach], **zero
    )


def draw_effects(
    by_metric: pd.DataFrame, labels: Mapping[str, str], confidence_level: float
) -> go.Figure:
    """The effect size of every metric that has a better direction, turned so that right is better.

    The effect size is the mean difference in standard deviations of the prompts' differences
    (Cohen's d_z), so that metrics of different scales share one axis.

    Args:
        by_metric: Rows of by_metric.csv.
        labels: What each metric is called.
        confidence_level: Of the intervals, in (0, 1).
    """
    rows = by_metric[by_metric["set"].isin(SETS)]
    rows = rows[rows["direction"].isin(["higher", "lower"])]
    rows = rows[np.isfinite(rows["effect_size"])]
    metrics = list(dict.fromkeys(rows["metric"]))
    names = [wrap_label(labels.get(metric, metric)) for metric in metrics]
    place = {metric: len(metrics) - 1 - number for number, metric in enumerate(metrics)}
    figure = go.Figure()
    for name, (symbol, shift) in SETS.items():
        of_set = rows[rows["set"] == name]
        effects = [_scale_to_effect(row) for row in of_set.to_dict("records")]
        figure.add_scatter(
            x=[effect for effect, _, _ in effects],
            y=[place[metric] + shift for metric in of_set["metric"]],
            error_x=_draw_intervals(effects),
            mode="markers",
            name=f"{word_set(name)} prompts",
            marker={
                "color": FINETUNED if name == "in_domain" else BASELINE,
                "size": 11,
                "symbol": symbol,
            },
            customdata=[
                f"<b>{wrap_label(labels.get(metric, metric), 40)}</b><br>"
                f"{word_set(name)} prompts: effect {_word_interval(effect, confidence_level, 2)}"
                for metric, effect in zip(of_set["metric"], effects, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    style_figure(figure, height_px=120 + fit_rows(names, ROW_PX))
    figure.update_xaxes(title_text="effect size: right is better", zeroline=True)
    figure.update_xaxes(zerolinecolor=BASELINE, zerolinewidth=2)
    return figure.update_yaxes(
        tickmode="array",
        tickvals=[place[metric] for metric in metrics],
        ticktext=names,
        range=[-0.6, len(metrics) - 0.4],
    )


def _scale_to_effect(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Effect size and its interval, positive where it is better."""
    sign = 1 if row["direction"] == "higher" else -1
    low, high = sorted(sign * row[end] / row["difference_sd"] for end in ("ci_low", "ci_high"))
    return sign * row["effect_size"], low, high


def _draw_intervals(values: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    return {
        "array": [high - value for value, _, high in values],
        "arrayminus": [value - low for value, low, _ in values],
        "thickness": 1.5,
        "width": 4,
    }


def _draw_interval(value: float, low: float, high: float) -> dict[str, Any]:
    return _draw_intervals([(value, low, high)]) | {"color": FINETUNED}


def _word_interval(values: tuple[float, float, float], level: float, digits: int = 4) -> str:
    value, low, high = values
    interval = format_interval(low, high, digits)
    return f"{format_signed(value, digits)}, {level * 100:g} % interval {interval}"
