"""The section on experts: to which ones the tokens of each class go, where that tells the most."""

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from stages.analysis.experts import ExpertUse
from stages.config.notation import format_number, format_signed
from stages.reporting.evidence import Rows
from stages.reporting.style import BASELINE, FINETUNED, fit_rows, style_figure, wrap_label

NUM_SHOWN = 24
"""Experts in the chart, of as many layers as that takes; a U-Net has dozens."""
ROW_PX = 22
NAMES = {"attentions.": "", "transformer_blocks.0.": "", "_blocks.": " ", "_block.": " "}
"""Of parts of a U-Net's layers: what is said of them, which is next to nothing."""
CLEAR = "rgba(128,128,128,0)"


class ShownExperts(NamedTuple):
    """What the page says of experts.

    Attributes:
        sentence: Whether they specialise.
        layers: Rows of `ExpertUse.by_layer` that are shown, by their short names.
        num_layers: Of all.
        groups: A row each, with its `weights` in the first of these layers.
    """

    sentence: str
    layers: Rows
    num_layers: int
    groups: Rows


def show_experts(use: ExpertUse | None) -> ShownExperts | None:
    """The most telling layers; None where no experts were used."""
    if use is None:
        return None
    layers = choose_layers(use)
    first = use.by_group[use.by_group["layer"] == layers["layer"].iloc[0]]
    return ShownExperts(
        use.sentence,
        layers.assign(layer=layers["layer"].map(shorten_layer)).to_dict("records"),
        len(use.by_layer),
        [
            {"group": group, "weights": rows["weight"].tolist()}
            for group, rows in first.groupby("group", sort=False)
        ],
    )


def draw_experts(use: ExpertUse) -> go.Figure:
    """A heat map: by how much a group's tokens go more to an expert than those of all classes."""
    layers = choose_layers(use)["layer"].tolist()
    experts = pd.MultiIndex.from_product([layers, range(1, use.num_experts + 1)])[::-1]
    wide = use.by_group.set_index(["layer", "expert", "group"])[["weight", "deviation"]].unstack()
    groups = use.by_group["group"].unique()
    weight, deviation = (wide[name].loc[experts, groups] for name in ("weight", "deviation"))
    labels = [wrap_label(f"{shorten_layer(layer)}, {expert}", 40) for layer, expert in experts]
    limit = float(deviation.abs().to_numpy().max()) or 1.0
    figure = style_figure(go.Figure(), height_px=150 + fit_rows(labels, ROW_PX))
    figure.add_heatmap(
        x=[wrap_label(group) for group in groups],
        y=labels,
        z=deviation.to_numpy().tolist(),
        customdata=(weight.map(format_number) + ", " + deviation.map(format_signed)).to_numpy(),
        hovertemplate="<b>%{x}</b>, %{y}<br>weight %{customdata} against all<extra></extra>",
        colorscale=[[0, BASELINE], [0.5, CLEAR], [1, FINETUNED]],
        zmin=-limit,
        zmax=limit,
        xgap=1,
        ygap=1,
        colorbar={"thickness": 10},
    )
    return figure.update_yaxes(showgrid=False).update_xaxes(showgrid=False)


def choose_layers(use: ExpertUse) -> pd.DataFrame:
    """The rows of `ExpertUse.by_layer` that are shown."""
    return use.by_layer.head(max(1, NUM_SHOWN // use.num_experts))


def shorten_layer(layer: str) -> str:
    """`down 0.1.attn2.to_k`, of diffusers' longer name."""
    for long, short in NAMES.items():
        layer = layer.replace(long, short)
    return layer
