"""All charts of the page by name."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from stages.config.results import Results
from stages.reporting import figures, tradeoffs


def draw_charts(
    results: Results,
    marketing: pd.DataFrame,
    losses: tuple[pd.DataFrame, pd.DataFrame],
    labels: Mapping[str, str],
    confidence_level: float,
) -> dict[str, go.Figure]:
    """The charts.

    Args:
        results: Of `by_prompt`, the prompts that the page lists.
        marketing: Rows of it that get a chart of their own.
        losses: Of training and of validation, a row a step.
        labels: The names of the metrics.
        confidence_level: Of the intervals, in (0, 1).
    """
    loss, validation_loss = losses
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
