"""The page of a duel: a matrix of differences, who is unbeaten, gain beside cost."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.subplots import make_subplots

from stages.analysis.results import METHODS_SCHEMA
from stages.config.notation import format_interval, format_signed
from stages.reporting.methods import draw_methods
from stages.reporting.page import build_environment
from stages.reporting.style import BASELINE, FINETUNED, fit_rows, style_figure, wrap_label

METRIC = "clip_cosine"


class Change(NamedTuple):
    """What an arm changed from the baseline: by which metric, on which prompts, in words."""

    set_name: str
    metric: str
    words: str


GAIN = Change("in_domain", METRIC, "CLIP on in-domain prompts")
FORGETTING = Change("marketing", METRIC, "CLIP on marketing prompts")
LIKENESS = Change("subject", "subject_similarity", "similarity to the subject")
FIT = Change("subject", METRIC, "CLIP on the subject's prompts")
OF_SUBJECT = (LIKENESS, FIT, GAIN, FORGETTING)
ROW_PX = 26


class Duels(NamedTuple):
    """What the page is made from.

    Attributes:
        arms: Names, the baseline's first.
        duels: Rows of plots/duel.csv.
        by_class: Rows of plots/duel_by_class.csv.
        unbeaten: By set, the arms that none is shown to beat.
        labels: Of the metrics.
        trained: By arm, for each of its experiments what it trained and what that took.
        picked: The arm that the other half of the prompts chose; "" where none was asked for.
        confidence_level: Of the intervals, in (0, 1).
        relevant: The smallest difference that matters.
        is_paired: Whether pictures of two arms belong together.
    """

    arms: Sequence[str]
    duels: pd.DataFrame
    by_class: pd.DataFrame
    unbeaten: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]
    trained: Mapping[str, Sequence[Mapping[str, Any]]]
    picked: str
    confidence_level: float
    relevant: float
    is_paired: bool = True


def render_duels(page: Duels) -> str:
    """The page as HTML that opens offline, plotly inside."""
    table = tabulate_methods(page)
    charts = {"trade": draw_trade(page)}
    trained = table[table["num_trainable_parameters"] > 0]  # not known of pictures alone
    if not trained.empty:
        charts["methods"] = draw_methods(trained, page.confidence_level)
    of_subject = tabulate_subject(page)
    if of_subject:
        charts["subject"] = draw_subject(of_subject, page.confidence_level)
    htmls = {
        name: Markup(
            chart.to_html(
                full_html=False,
                include_plotlyjs=name == "trade",  # the first
                config={"displayModeBar": False, "responsive": True},
            )
        )
        for name, chart in charts.items()
    }
    return (
        build_environment()
        .get_template("duel.html.j2")
        .render(
            page=page,
            matrices={name: build_matrix(page, name) for name in page.unbeaten},
            metrics=list_metrics(page),
            called=page.by_class[page.by_class["verdict"].isin(["better", "worse"])].to_dict(
                "records"
            ),
            costs=table.to_dict("records"),
            charts=htmls,
            of_subject=of_subject,
            baseline_colour=BASELINE,
            finetuned_colour=FINETUNED,
        )
    )


def build_matrix(page: Duels, set_name: str) -> list[list[dict[str, Any] | None]]:
    """Row minus column, for each pair of arms both ways; None on the diagonal."""
    rows = page.duels[(page.duels["set"] == set_name) & (page.duels["metric"] == METRIC)]
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows.to_dict("records"):
        cells[row["a"], row["b"]] = row
        other = {"better": "worse", "worse": "better"}.get(row["verdict"], row["verdict"])
        turned = {"difference": -row["difference"], "verdict": other}
        turned |= {"ci_low": -row["ci_high"], "ci_high": -row["ci_low"]}
        cells[row["b"], row["a"]] = row | turned
    return [[cells.get((a, b)) for b in page.arms] for a in page.arms]


def list_metrics(page: Duels) -> list[dict[str, Any]]:
    """The duels by other metrics that are beyond chance after the adjustment for all pairs."""
    others = page.duels[page.duels["metric"] != METRIC]
    found = others[others["p_value_holm"] < 1 - page.confidence_level]
    return [row | {"label": page.labels[row["metric"]]} for row in found.to_dict("records")]


def tabulate_methods(page: Duels) -> pd.DataFrame:
    """A row of `METHODS_SCHEMA` an arm but the baseline, with its duration and size."""
    table = []
    for arm in page.arms[1:]:
        first = page.trained[arm][0]
        runs = pd.DataFrame(list(page.trained[arm]))
        row = {
            "experiment": arm,
            "method": first["method"],
            **runs.drop(columns="method").mean().to_dict(),
        }
        for change, value, ends in (
            (GAIN, "gain_in_domain", "gain"),
            (FORGETTING, "change_out_of_domain", "change"),
        ):
            if found := find_change(page, arm, change):
                row |= {value: found["difference"], f"{ends}_ci_low": found["ci_low"]}
                row |= {f"{ends}_ci_high": found["ci_high"]}
        table.append(row)
    return pd.DataFrame(table).reindex(columns=[*METHODS_SCHEMA, "training_s", "checkpoint_bytes"])


def tabulate_subject(page: Duels) -> list[dict[str, Any]]:
    """Of each arm that learned a subject its changes, in the order of the page's columns."""
    found = {
        arm: [find_change(page, arm, change) for change in OF_SUBJECT] for arm in page.arms[1:]
    }
    return [{"experiment": arm, "changes": changes} for arm, changes in found.items() if changes[0]]


def find_change(page: Duels, arm: str, change: Change) -> dict[str, Any] | None:
    """An arm's mean, and how far it is above the baseline's, with an interval; None if unknown."""
    rows = page.duels[(page.duels["a"] == page.arms[0]) & (page.duels["b"] == arm)]
    rows = rows[(rows["set"] == change.set_name) & (rows["metric"] == change.metric)]
    if rows.empty:
        return None
    duel = rows.iloc[0]
    ends = {"ci_low": -duel["ci_high"], "ci_high": -duel["ci_low"]}
    return {"mean": duel["mean_b"], "difference": -duel["difference"], **ends}


def draw_trade(page: Duels) -> go.Figure:
    """Gain against forgetting, both with intervals; a point an arm."""
    points: list[dict[str, Any]] = [
        {"arm": arm, "x": forgetting, "y": gain}
        for arm in page.arms[1:]
        if (forgetting := find_change(page, arm, FORGETTING))
        and (gain := find_change(page, arm, GAIN))
    ]

    def place(axis: str) -> dict[str, Any]:
        changes = pd.DataFrame([point[axis] for point in points])
        values = changes["difference"]
        bar = {"array": changes["ci_high"] - values, "arrayminus": values - changes["ci_low"]}
        return {axis: values, f"error_{axis}": bar | {"thickness": 1.5, "width": 4}}

    figure = go.Figure(
        go.Scatter(
            **(place("x") | place("y") if points else {}),
            mode="markers+text",
            text=[wrap_label(point["arm"]) for point in points],
            textposition="top right",
            marker={"color": FINETUNED, "size": 11},
            customdata=[_word_trade(point) for point in points],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.add_hline(y=0, line_color=BASELINE).add_vline(x=0, line_color=BASELINE)
    percent = f"{page.confidence_level * 100:g} % intervals"
    figure.update_xaxes(title_text=f"change of {FORGETTING.words}; {percent}")
    figure.update_yaxes(title_text=f"change of<br>{GAIN.words}")
    return style_figure(figure, 440)


def draw_subject(rows: list[dict[str, Any]], confidence_level: float) -> go.Figure:
    """A row an arm, a panel a change: names stand beside their points however alike these are.

    Args:
        rows: From `tabulate_subject`.
        confidence_level: Of the intervals, in (0, 1).
    """
    figure = make_subplots(rows=1, cols=len(OF_SUBJECT), shared_yaxes=True, horizontal_spacing=0.03)
    names = [wrap_label(row["experiment"]) for row in rows]
    for column, change in enumerate(OF_SUBJECT, start=1):
        known = [(name, row["changes"][column - 1]) for name, row in zip(names, rows, strict=True)]
        points = pd.DataFrame([{"name": name, **found} for name, found in known if found])
        values = points["difference"]
        figure.add_scatter(
            x=values,
            y=points["name"],
            error_x={
                "array": points["ci_high"] - values,
                "arrayminus": values - points["ci_low"],
                "thickness": 1.5,
                "width": 4,
            },
            mode="markers",
            marker={"color": FINETUNED, "size": 9},
            hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        figure.add_vline(x=0, line_color=BASELINE, row=1, col=column)
        title = f"change of<br>{wrap_label(change.words)}"
        figure.update_xaxes(title_text=title, title_font_size=13, nticks=4, row=1, col=column)
    percent = f"{confidence_level * 100:g} % intervals"
    style_figure(figure, fit_rows(names, ROW_PX) + 130)
    figure.update_layout(title={"text": percent, "font_size": 13, "x": 0, "xref": "paper"})
    return figure.update_yaxes(autorange="reversed", type="category")


def _word_trade(point: Mapping[str, Any]) -> str:
    words = [
        f"{change.words} {format_signed(found['difference'])} "
        f"({format_interval(found['ci_low'], found['ci_high'])})"
        for change, found in ((GAIN, point["y"]), (FORGETTING, point["x"]))
    ]
    return "<br>".join([f"<b>{wrap_label(point['arm'], 40)}</b>", *words])
