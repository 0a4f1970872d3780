"""One plotly figure per function: CLIP cosine by class and prompt, and the training curves."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from stages.config.notation import format_interval, format_number, format_signed, word_set
from stages.reporting.style import BASELINE, FINETUNED, fit_rows, style_figure, wrap_label

ROW_PX, DENSE_ROW_PX = 34, 26
SMOOTHING_STEPS = 25


ALL_PROMPTS = "all prompts"
"""Where they have no class."""
MARKS = {"better": "▲", "worse": "▼"}
"""Before the label of what is called better or worse."""


def draw_change(
    rows: pd.DataFrame,
    name: str,
    verdicts: Sequence[str],
    confidence_level: float,
    interval_prefix: str = "",
) -> go.Figure:
    """Baseline and fine-tuned CLIP cosine of each row, with the interval of the difference.

    The interval is drawn from the baseline's value on: where it covers the grey dot, there may
    be no change. What is called better or worse is marked.

    Args:
        rows: Columns `name` (the label), baseline, finetuned, difference, ci_low, ci_high.
        name: Which column holds the labels.
        verdicts: Of each row.
        confidence_level: Of the intervals, in (0, 1).
        interval_prefix: Of the columns ci_low and ci_high.
    """
    limits = {f"{interval_prefix}{end}": end for end in ("ci_low", "ci_high")}
    rows = rows.drop(columns=[*limits.values()], errors="ignore") if interval_prefix else rows
    rows = rows.rename(columns=limits).assign(mark=[MARKS.get(v, "") for v in verdicts])
    rows = rows.iloc[::-1]  # plotly counts rows from below
    marked = zip(rows["mark"], map(wrap_label, rows[name]), strict=True)
    labels = [f"{mark} {label}".strip() for mark, label in marked]
    hover = _describe_changes(rows, confidence_level)
    common = {"y": labels, "mode": "markers", "customdata": hover}
    common |= {"hovertemplate": "<b>%{y}</b><br>%{customdata}<extra></extra>"}
    figure = go.Figure(
        [
            _draw_connectors(labels, rows),
            go.Scatter(
                x=rows["baseline"].tolist(),
                name="baseline",
                marker={"color": BASELINE, "size": 11},
                **common,
            ),
            go.Scatter(
                x=rows["finetuned"].tolist(),
                name="fine-tuned",
                marker={"color": FINETUNED, "size": 11},
                error_x={
                    "array": (rows["ci_high"] - rows["difference"]).tolist(),
                    "arrayminus": (rows["difference"] - rows["ci_low"]).tolist(),
                    "color": FINETUNED,
                    "thickness": 1.5,
                    "width": 4,
                },
                **common,
            ),
        ]
    )
    figure.update_xaxes(title_text="CLIP cosine")
    # Not by plotly, which leaves a part of the height free, however many rows there are.
    figure.update_yaxes(range=[-0.75, len(set(labels)) - 0.25])
    return style_figure(figure, height_px=110 + fit_rows(labels, ROW_PX))


def draw_prompt_changes(by_prompt: pd.DataFrame) -> go.Figure:
    """The change of every prompt, a dot each, in a row for its class; from `compare_prompts`."""
    by_prompt = by_prompt.reset_index(drop=True)
    by_prompt = by_prompt[by_prompt["set"] != "subject"].copy()  # which has a section of its own
    by_prompt["class"] = by_prompt["class"].replace("", ALL_PROMPTS)
    labels = [wrap_label(label) for label in dict.fromkeys(by_prompt["class"])]
    figure = go.Figure()
    for name, symbol in (("in_domain", "circle"), ("marketing", "diamond")):
        rows = by_prompt[by_prompt["set"] == name]
        figure.add_scatter(
            x=rows["difference"].tolist(),
            y=[wrap_label(label) for label in rows["class"]],
            ids=[f"prompt-{number}" for number in rows.index],  # where the page lists it
            mode="markers",
            name=f"{word_set(name)} prompt",
            marker={
                "color": FINETUNED,
                "size": 10,
                "symbol": symbol,
                "opacity": 0.75,
            },
            customdata=[
                f"{wrap_label(row.prompt, 40)}<br>{format_signed(row.difference)}"
                for row in rows.itertuples()
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    style_figure(figure, height_px=120 + fit_rows(labels, DENSE_ROW_PX))
    figure.update_xaxes(title_text="change of CLIP cosine")
    figure.update_xaxes(zeroline=True, zerolinecolor=BASELINE, zerolinewidth=2)
    return figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1])


def draw_loss(loss: pd.DataFrame) -> go.Figure:
    """The training loss of every step, and its running mean; columns step and loss."""
    steps = loss["step"].tolist()
    window = min(SMOOTHING_STEPS, max(1, len(loss)))
    smooth = loss["loss"].rolling(window, min_periods=1).mean()
    raw = {"color": FINETUNED, "width": 1}
    figure = go.Figure(
        [
            go.Scatter(x=steps, y=loss["loss"].tolist(), name="each step", line=raw, opacity=0.3),
            go.Scatter(
                x=steps,
                y=smooth.tolist(),
                name=f"mean of {window}",
                line={"color": FINETUNED, "width": 2.5},
            ),
        ]
    )
    figure.update_yaxes(title_text="training loss", rangemode="tozero")
    return style_figure(figure.update_xaxes(title_text="step"), height_px=300)


def draw_validation_loss(validation_loss: pd.DataFrame) -> go.Figure:
    """The loss on held-out pairs; columns step and validation_loss."""
    figure = go.Figure(
        go.Scatter(
            x=validation_loss["step"].tolist(),
            y=validation_loss["validation_loss"].tolist(),
            name="validation",
            mode="lines+markers",
            line={"color": FINETUNED, "width": 2.5},
            marker={"size": 9},
        )
    )
    figure.update_yaxes(title_text="validation loss")
    return style_figure(figure.update_xaxes(title_text="step"), height_px=300)


def _describe_changes(rows: pd.DataFrame, confidence_level: float) -> list[str]:
    return [
        f"baseline {format_number(row.baseline)}<br>fine-tuned {format_number(row.finetuned)}"
        f"<br>change {format_signed(row.difference)}"
        f"<br>{confidence_level * 100:g} % interval {format_interval(row.ci_low, row.ci_high)}"
        for row in rows.itertuples()
    ]


def _draw_connectors(labels: Sequence[str], rows: pd.DataFrame) -> go.Scatter:
    x, y = [], []
    for label, before, after in zip(labels, rows["baseline"], rows["finetuned"], strict=True):
        x += [before, after, None]
        y += [label, label, None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": BASELINE, "width": 3},
        opacity=0.45,
        hoverinfo="skip",
        showlegend=False,
    )
