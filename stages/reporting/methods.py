"""The chart of training methods: what each cost in parameters, and what it gained and lost."""

import math
from itertools import pairwise
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from stages.config.notation import format_interval, format_signed
from stages.reporting.style import BASELINE, FINETUNED, style_figure, wrap_label

HEIGHT_PX = 820
HEADROOM_DECADES = 0.5
"""Of the logarithmic axis, beyond the smallest and the largest method."""
LABEL_DECADES = 0.2
"""The width of a short name."""


class Panel(NamedTuple):
    """One quantity against the number of trained parameters."""

    title: str
    value: str
    low: str | None
    high: str | None


PANELS = (
    Panel("validation loss: lower is better", "validation_loss_change", None, None),
    Panel("CLIP on in-domain prompts", "gain_in_domain", "gain_ci_low", "gain_ci_high"),
    Panel("CLIP on marketing prompts", "change_out_of_domain", "change_ci_low", "change_ci_high"),
)


def draw_methods(table: pd.DataFrame, confidence_level: float) -> go.Figure:
    """Change of validation loss and of CLIP, in and out of domain, by trained parameters (log).

    Args:
        table: Columns of `METHODS_SCHEMA`.
        confidence_level: Of the intervals, in (0, 1).
    """
    figure = make_subplots(rows=len(PANELS), cols=1, shared_xaxes=True, vertical_spacing=0.07)
    sizes = table["num_trainable_parameters"]
    names = [wrap_label(name) for name in table["experiment"]]
    for row, panel in enumerate(PANELS, start=1):
        figure.add_scatter(
            x=sizes,
            y=table[panel.value],
            error_y=_draw_intervals(table, panel),
            mode="markers+text",
            text=names,
            textposition=_place_labels(sizes.tolist()),
            marker={"color": FINETUNED, "size": 11},
            customdata=[_word(values, panel, confidence_level) for values in _list_rows(table)],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )
        figure.add_hline(y=0, line_color=BASELINE, line_width=2, row=row, col=1)
        figure.update_yaxes(title_text=f"change of<br>{panel.title}", row=row, col=1)
    style_figure(figure, HEIGHT_PX)
    figure.update_yaxes(title_font_size=13)
    figure.update_xaxes(type="log", dtick=1, title_font_size=13, **_reach(sizes))
    return figure.update_xaxes(
        title_text=f"trained parameters; bars are {confidence_level * 100:g} % intervals",
        row=len(PANELS),
        col=1,
    )


def _reach(sizes: pd.Series) -> dict[str, list[float]]:
    """The range of the axis, in powers of ten; labels stand at either side of their points."""
    low, high = (len(str(int(size))) - 1 for size in (sizes.min(), sizes.max()))
    return {"range": [low - HEADROOM_DECADES, high + 1 + HEADROOM_DECADES]}


def _place_labels(sizes: list[int]) -> list[str]:
    """Right of a point, but left where a larger method would be under the label."""
    order = sorted(range(len(sizes)), key=lambda index: sizes[index])
    places = ["middle right"] * len(sizes)
    for index, larger in pairwise(order):
        if math.log10(sizes[larger] / sizes[index]) < LABEL_DECADES:
            places[index] = "middle left"
    return places


def _draw_intervals(table: pd.DataFrame, panel: Panel) -> dict | None:
    if panel.low is None:
        return None
    return {
        "array": table[panel.high] - table[panel.value],
        "arrayminus": table[panel.value] - table[panel.low],
        "thickness": 1.5,
        "width": 4,
    }


def _list_rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _word(row: dict, panel: Panel, confidence_level: float) -> str:
    name = f"<b>{wrap_label(row['experiment'], 40)}</b>, {row['num_trainable_parameters']:,} "
    words = f"{name}parameters<br>{format_signed(row[panel.value])}"
    if panel.low is None:
        return words
    interval = format_interval(row[panel.low], row[panel.high])
    return f"{words}, {confidence_level * 100:g} % interval {interval}"
