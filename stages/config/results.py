"""The tables that `compare` writes and `report` reads: their columns, and all of them at once.

Differences are finetuned - baseline.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.files.tables import Schema, read_csv

_COUNTS = {"num_prompts": "int64", "num_images": "int64"}
_ESTIMATES = dict.fromkeys(("baseline", "finetuned", "difference", "ci_low", "ci_high"), "float64")
_ACCURACIES = dict.fromkeys(
    ("zero_shot_accuracy_baseline", "zero_shot_accuracy_finetuned"), "float64"
)
_P_VALUES = dict.fromkeys(("p_value", "smallest_p_value"), "float64")
_EFFECT = dict.fromkeys(("effect_size", "smallest_detectable_difference"), "float64")

BY_SET_SCHEMA = {
    "set": "str",
    **_COUNTS,
    **_ESTIMATES,
    **_ACCURACIES,
    **_P_VALUES,
    **_EFFECT,
    "verdict": "str",
}
BY_CLASS_SCHEMA = {
    "class": "str",
    **_COUNTS,
    **_ESTIMATES,
    **_ACCURACIES,
    **_P_VALUES,
    "p_value_holm": "float64",
    **_EFFECT,
    "verdict": "str",
}
BY_PROMPT_SCHEMA = {
    **dict.fromkeys(("prompt_id", "set", "class", "prompt"), "str"),
    "num_images": "int64",
    **_ESTIMATES,
    **_ACCURACIES,
}
BY_METRIC_SCHEMA = {
    **dict.fromkeys(("set", "metric", "better"), "str"),
    **_COUNTS,
    **_ESTIMATES,
    "p_value": "float64",
    **dict.fromkeys(("effect_size", "difference_sd"), "float64"),
}
METRIC_CORRELATIONS_SCHEMA = {
    **dict.fromkeys(("set", "metric_a", "metric_b"), "str"),
    "spearman": "float64",
    "num_prompts": "int64",
}
DISAGREEMENTS_SCHEMA = {
    **dict.fromkeys(("file_name", "prompt_id", "set", "class", "prompt"), "str"),
    "index": "int64",
    **dict.fromkeys(("metric_a", "metric_b"), "str"),
    **dict.fromkeys(("difference_a", "difference_b", "rank_gap"), "float64"),
}
FORGETTING_SCHEMA = {
    "metric": "str",
    **dict.fromkeys(
        (
            "gain_in_domain",
            "gain_ci_low",
            "gain_ci_high",
            "change_out_of_domain",
            "change_ci_low",
            "change_ci_high",
            "trade_off",
            "trade_off_ci_low",
            "trade_off_ci_high",
        ),
        "float64",
    ),
}
POOLED_SCHEMA = {
    **dict.fromkeys(("set", "metric"), "str"),
    **dict.fromkeys(("num_seeds", "num_prompts"), "int64"),
    **dict.fromkeys(("difference", "ci_low", "ci_high", "p_value"), "float64"),
    **dict.fromkeys(("sd_seeds", "sd_prompts", "sd_residual"), "float64"),
    "verdict": "str",
}
METHODS_SCHEMA = {
    **dict.fromkeys(("experiment", "method"), "str"),
    "learning_rate": "float64",
    "num_trainable_parameters": "int64",
    "validation_loss_change": "float64",
    **{
        name: kind
        for name, kind in FORGETTING_SCHEMA.items()
        if name.startswith(("gain_", "change_"))
    },
}

SCHEMAS: dict[str, Schema] = {
    "by_set": BY_SET_SCHEMA,
    "by_class": BY_CLASS_SCHEMA,
    "by_prompt": BY_PROMPT_SCHEMA,
    "by_metric": BY_METRIC_SCHEMA,
    "metric_correlations": METRIC_CORRELATIONS_SCHEMA,
    "disagreements": DISAGREEMENTS_SCHEMA,
    "forgetting": FORGETTING_SCHEMA,
}
"""Name of the file without its suffix to its columns: what the report reads."""


class Results(NamedTuple):
    """What `compare` found, a table a file."""

    by_set: pd.DataFrame
    by_class: pd.DataFrame
    by_prompt: pd.DataFrame
    by_metric: pd.DataFrame
    metric_correlations: pd.DataFrame
    disagreements: pd.DataFrame
    forgetting: pd.DataFrame


def read_results(folder: Path) -> Results:
    """Read all of the tables in `folder`; errors as `read_csv`."""
    return Results(
        **{
            name: read_csv(folder / f"{name}.csv", schema, "compare")
            for name, schema in SCHEMAS.items()
        }
    )
