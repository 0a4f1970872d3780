"""The page on CLIP guidance: what the guide gains along the scale, and what the judge sees."""

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.subplots import make_subplots

from stages.config.notation import format_interval, format_number, format_signed, word_set
from stages.reporting.page import build_environment
from stages.reporting.style import BASELINE, FINETUNED, style_figure

HEIGHT_PX = 560
LINES = {"guide": (BASELINE, "dot"), "judge": (FINETUNED, "solid")}
"""Colour and dash of each."""
WORDS = {"baseline": "baseline", "finetuned": "fine-tuned"}


def render_guidance(table: pd.DataFrame, confidence_level: float) -> str:
    """The page as HTML that opens offline, plotly inside.

    Args:
        table: Rows of `GUIDANCE_SCHEMA`, by variant, scale and set.
        confidence_level: Of the intervals, in (0, 1).
    """
    chart = draw_guidance(table, confidence_level).to_html(
        full_html=False,
        include_plotlyjs=True,
        config={"displayModeBar": False, "responsive": True},
    )
    template = build_environment().get_template("guidance.html.j2")
    return template.render(
        rows=table.to_dict("records"),
        words=WORDS,
        first=table["first_scale"].iloc[0],
        chart=Markup(chart),
        confidence_level=confidence_level,
        baseline_colour=BASELINE,
        finetuned_colour=FINETUNED,
    )


def draw_guidance(table: pd.DataFrame, confidence_level: float) -> go.Figure:
    """Gain of guide and judge by scale, a column a variant and a row a set of prompts."""
    variants, sets = (table[column].unique().tolist() for column in ("variant", "set"))
    figure = make_subplots(
        rows=len(sets),
        cols=len(variants),
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.1,
        horizontal_spacing=0.06,
        column_titles=[WORDS[variant] for variant in variants],
    )
    for (variant, set_name), rows in table.groupby(["variant", "set"], sort=False):
        place = {"row": sets.index(set_name) + 1, "col": variants.index(variant) + 1}
        for who, (colour, dash) in LINES.items():
            gains = rows[f"{who}_gain"]
            figure.add_scatter(
                x=[_label(row) for row in rows.to_dict("records")],
                y=gains,
                error_y={
                    "array": rows[f"{who}_ci_high"] - gains,
                    "arrayminus": gains - rows[f"{who}_ci_low"],
                    "thickness": 1.5,
                    "width": 4,
                },
                mode="lines+markers",
                name=who,
                legendgroup=who,
                showlegend=place == {"row": 1, "col": 1},
                line={"color": colour, "dash": dash},
                marker={"size": 9},
                customdata=[_word(row, who) for row in rows.to_dict("records")],
                hovertemplate="%{customdata}<extra></extra>",
                **place,
            )
        figure.add_hline(y=0, line_color=BASELINE, **place)
    for number, set_name in enumerate(sets, start=1):
        title = f"gain of the cosine,<br>{word_set(set_name)} prompts"
        figure.update_yaxes(title_text=title, row=number, col=1)
    figure.update_xaxes(
        title_text=f"scale, and seconds a picture; {confidence_level * 100:g} % intervals",
        row=len(sets),
        col=1,
    )
    style_figure(figure, HEIGHT_PX).update_layout(margin_t=70, legend_y=1.06)
    figure.update_yaxes(title_font_size=13)
    return figure.update_xaxes(type="category", title_font_size=13)


def _label(row: dict) -> str:
    return f"{row['scale']:g}<br>{format_number(row['seconds_per_picture'], 1)} s"


def _word(row: dict, who: str) -> str:
    interval = format_interval(row[f"{who}_ci_low"], row[f"{who}_ci_high"])
    return f"scale {row['scale']:g}: {who} {format_signed(row[f'{who}_gain'])} ({interval})"
