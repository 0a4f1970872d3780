"""The tables that `compare` writes and `report` reads: their columns, and all of them at once."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.artifacts.tables import Schema, read_csv

_PICTURE: Schema = {
    "file_name": "str",
    "prompt_id": "str",
    "set": "str",
    "class": "str",
    "prompt": "str",
    "index": "int64",
}
_CHANGE = ("baseline", "finetuned", "difference", "ci_low", "ci_high")
_COUNTS: Schema = {"num_prompts": "int64", "num_images": "int64"}
_ACCURACIES = ("zero_shot_accuracy_baseline", "zero_shot_accuracy_finetuned")
_EVIDENCE = ("p_value", "smallest_p_value", "effect_size", "smallest_detectable_difference")


def _number(*names: str) -> Schema:
    return dict.fromkeys(names, "float64")


SCHEMAS: dict[str, Schema] = {
    "by_set": {
        "set": "str",
        **_COUNTS,
        **_number(*_CHANGE, *_ACCURACIES, *_EVIDENCE),
        "verdict": "str",
    },
    "by_class": {
        "class": "str",
        **_COUNTS,
        **_number(*_CHANGE, *_ACCURACIES, *_EVIDENCE, "p_value_holm"),
    },
    "by_prompt": {
        **dict.fromkeys(("prompt_id", "set", "class", "prompt"), "str"),
        "num_images": "int64",
        **_number(*_CHANGE, *_ACCURACIES),
    },
    "by_metric": {
        **dict.fromkeys(("set", "metric", "better"), "str"),
        **_COUNTS,
        **_number(*_CHANGE, "p_value", "effect_size"),
    },
    "metric_correlations": {
        **dict.fromkeys(("set", "metric_a", "metric_b"), "str"),
        "spearman": "float64",
        "num_prompts": "int64",
    },
    "disagreements": {
        **_PICTURE,
        **dict.fromkeys(("metric_a", "metric_b"), "str"),
        **_number("difference_a", "difference_b", "rank_gap"),
    },
    "forgetting": {
        "metric": "str",
        **_number("gain_in_domain", "gain_ci_low", "gain_ci_high"),
        **_number("change_out_of_domain", "change_ci_low", "change_ci_high", "trade_off"),
    },
}
"""Name of the file without its suffix to its columns."""


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
