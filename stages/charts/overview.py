"""All charts of the page by name."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from stages.artifacts.results import Results
from stages.charts import figures, tradeoffs


def draw_charts(
    results: Results,
    loss: pd.DataFrame,
    validation_loss: pd.DataFrame,
    labels: Mapping[str, str],
    confidence_level: float,
) -> dict[str, go.Figure]:
    """The charts; `labels` are the names of the metrics, the losses have a row a step."""
    marketing = results.by_prompt[results.by_prompt["set"] == "marketing"]
    label = "class" if marketing["class"].is_unique else "prompt"
    charts = {
        "classes": figures.draw_change(results.by_class, "class", confidence_level),
        "marketing": figures.draw_change(marketing, label, confidence_level),
        "effects": tradeoffs.draw_effects(results.by_metric, labels, confidence_level),
        "prompts": figures.draw_prompt_changes(results.by_prompt),
        "loss": figures.draw_loss(loss),
        "validation": figures.draw_validation_loss(validation_loss),
    }
    if len(results.forgetting):
        first = results.forgetting.iloc[0].to_dict()
        charts["forgetting"] = tradeoffs.draw_forgetting(first, confidence_level)
    return charts
