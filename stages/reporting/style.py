"""How every chart looks: one colour a variant, the page's font, no box around it.

Text takes its colour from the page's style sheet. Names and prompts are escaped here: plotly reads
a few HTML tags in its labels.
"""

import html
import textwrap
from collections.abc import Sequence

import plotly.graph_objects as go

BASELINE = "#7a8799"
FINETUNED = "#d9662b"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'
LINE_PX = 16
GRID = "rgba(128,128,128,0.22)"
LABEL_CHARACTERS = 20
LONGEST_LABEL = 400
"""Characters of a label or of hover text; the page itself shows every prompt whole."""


def style_figure(figure: go.Figure, height_px: int) -> go.Figure:
    """Give a figure its height and the look of the page."""
    figure.update_layout(
        template="none",
        height=height_px,
        margin={"l": 8, "r": 12, "t": 40, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        xaxis_title_font_size=13,
        yaxis_title_font_size=13,
        hoverlabel={"font": {"family": FONT}, "align": "left"},
        dragmode=False,
    )
    figure.update_xaxes(automargin=True, gridcolor=GRID, zeroline=False)
    figure.update_yaxes(automargin=True, gridcolor=GRID, zeroline=False)
    figure.update_traces(cliponaxis=False)
    return figure


def wrap_label(label: str, num_characters: int = LABEL_CHARACTERS) -> str:
    """A label for plotly: escaped, broken into lines, and shortened past `LONGEST_LABEL`."""
    if len(label) > LONGEST_LABEL:
        label = f"{label[: LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
    lines = textwrap.wrap(label, num_characters) or [label]
    return "<br>".join(html.escape(line) for line in lines)


def fit_rows(labels: Sequence[str], row_px: int) -> int:
    """The height of all rows, alike, in which no label touches the next, in px."""
    num_lines = max((label.count("<br>") + 1 for label in labels), default=1)
    return max(row_px, LINE_PX * num_lines + 4) * len(labels)
