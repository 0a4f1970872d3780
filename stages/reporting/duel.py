"""The page of a duel: a matrix of differences, who is unbeaten, gain beside cost."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from stages.analysis.results import METHODS_SCHEMA
from stages.config.notation import format_interval, format_signed
from stages.reporting.methods import draw_methods
from stages.reporting.page import build_environment
from stages.reporting.style import BASELINE, FINETUNED, style_figure, wrap_label

SETS = ("in_domain", "marketing")
METRIC = "clip_cosine"


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
    charts = [draw_trade(table, page.confidence_level), draw_methods(table, page.confidence_level)]
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
            charts=[
                Markup(
                    chart.to_html(
                        full_html=False,
                        include_plotlyjs=number == 0,
                        config={"displayModeBar": False, "responsive": True},
                    )
                )
                for number, chart in enumerate(charts)
            ],
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
    baseline, *others = page.arms
    rows = page.duels[(page.duels["metric"] == METRIC) & (page.duels["a"] == baseline)]
    found = rows.set_index(["set", "b"])
    table = []
    for arm in others:
        first = page.trained[arm][0]
        runs = pd.DataFrame(list(page.trained[arm]))
        row = {
            "experiment": arm,
            "method": first["method"],
            **runs.drop(columns="method").mean().to_dict(),
        }
        for set_name, value, ends in (
            ("in_domain", "gain_in_domain", "gain"),
            ("marketing", "change_out_of_domain", "change"),
        ):
            if (set_name, arm) in found.index:
                duel = found.loc[set_name, arm]
                row |= {value: -duel["difference"], f"{ends}_ci_low": -duel["ci_high"]}
                row |= {f"{ends}_ci_high": -duel["ci_low"]}
        table.append(row)
    return pd.DataFrame(table).reindex(columns=[*METHODS_SCHEMA, "training_s", "checkpoint_bytes"])


def draw_trade(table: pd.DataFrame, confidence_level: float) -> go.Figure:
    """Gain in domain against the change on marketing prompts, both with intervals.

    Args:
        table: From `tabulate_methods`.
        confidence_level: Of the intervals, in (0, 1).
    """

    def bar(value: str, ends: str) -> dict[str, Any]:
        return {
            "array": table[f"{ends}_ci_high"] - table[value],
            "arrayminus": table[value] - table[f"{ends}_ci_low"],
            "thickness": 1.5,
            "width": 4,
        }

    figure = go.Figure(
        go.Scatter(
            x=table["change_out_of_domain"],
            y=table["gain_in_domain"],
            error_x=bar("change_out_of_domain", "change"),
            error_y=bar("gain_in_domain", "gain"),
            mode="markers+text",
            text=[wrap_label(name) for name in table["experiment"]],
            textposition="top right",
            marker={"color": FINETUNED, "size": 11},
            customdata=[_word_trade(row) for row in table.to_dict("records")],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.add_hline(y=0, line_color=BASELINE).add_vline(x=0, line_color=BASELINE)
    percent = f"{confidence_level * 100:g} % intervals"
    figure.update_xaxes(title_text=f"change of CLIP on marketing prompts; {percent}")
    figure.update_yaxes(title_text="change of CLIP on<br>in-domain prompts")
    return style_figure(figure, 440)


def _word_trade(row: Mapping[str, Any]) -> str:
    gain = format_interval(row["gain_ci_low"], row["gain_ci_high"])
    change = format_interval(row["change_ci_low"], row["change_ci_high"])
    return (
        f"<b>{wrap_label(row['experiment'], 40)}</b><br>in-domain "
        f"{format_signed(row['gain_in_domain'])} ({gain})<br>marketing "
        f"{format_signed(row['change_out_of_domain'])} ({change})"
    )
