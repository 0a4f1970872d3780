"""What a reader finds below a prompt: each of its pictures with all scores of both variants."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.reporting.blocks import spread_evenly

DIGITS = 5
"""Significant digits of a score in the page's data."""


def list_pictures(
    baseline: pd.DataFrame, finetuned: pd.DataFrame, metrics: Sequence[str]
) -> pd.DataFrame:
    """Both variants' scores side by side, a row a picture, in the baseline's order.

    Args:
        baseline: Rows of data/scores/baseline.csv.
        finetuned: Those of data/scores/finetuned.csv, of the same pictures.
        metrics: Which columns hold scores.

    Returns:
        The baseline's columns, `difference` of CLIP cosine, and `scores`: for each picture a list
        of (baseline, finetuned), in the order of `metrics`.
    """
    tuned = finetuned.set_index("file_name").loc[baseline["file_name"]]
    rows = zip(
        baseline[list(metrics)].to_numpy(dtype=float),
        tuned[list(metrics)].to_numpy(dtype=float),
        strict=True,
    )
    return baseline.assign(
        difference=tuned["clip_cosine"].to_numpy() - baseline["clip_cosine"].to_numpy(),
        predicted_class_finetuned=tuned["predicted_class"].to_numpy(),
        scores=[list(zip(before, after, strict=True)) for before, after in rows],
    )


def choose_shown(pictures: pd.DataFrame, max_pictures: int, named: Collection[str]) -> pd.DataFrame:
    """All rows, or of too many the first of each prompt, the second, and so on, in their order.

    Where not all prompts have their next one, those that have are spread evenly. Beyond the limit
    are those whose file_name is in `named`.
    """
    if len(pictures) <= max_pictures:
        return pictures
    rounds = pictures.groupby("prompt_id").cumcount().to_numpy()
    order = np.argsort(rounds, kind="stable")
    last = rounds[order[max_pictures]]  # the first round that does not fit as a whole
    whole, cut = np.flatnonzero(rounds < last), np.flatnonzero(rounds == last)
    spread = spread_evenly(len(cut), max_pictures - len(whole))
    is_shown = pictures["file_name"].isin(list(named)).to_numpy(copy=True)
    is_shown[whole] = is_shown[cut[spread]] = True
    return pictures[is_shown]


def describe_pictures(
    pictures: pd.DataFrame, labels: Mapping[str, str], seeds: Mapping[str, int]
) -> dict[str, Any]:
    """What the page's script shows of a picture: for JSON, without numbers that JSON lacks.

    Args:
        pictures: From `list_pictures`.
        labels: Metric to what it is called, in the order of the scores.
        seeds: File name to the seed of the noise, which JavaScript's numbers can't hold; without
            those that are not known.
    """
    prompts = {prompt_id: number for number, prompt_id in enumerate(pictures["prompt_id"].unique())}
    return {
        "metrics": list(labels.values()),
        "prompts": pictures.drop_duplicates("prompt_id")["prompt"].tolist(),
        "pictures": {
            row["file_name"]: {
                "prompt": prompts[row["prompt_id"]],
                "index": row["index"],
                "seed": str(seeds.get(row["file_name"], "")),
                "seen": [row["predicted_class"], row["predicted_class_finetuned"]],
                "scores": [[_shorten(value) for value in pair] for pair in row["scores"]],
            }
            for row in pictures.to_dict("records")
        },
    }


def group_pictures(pictures: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """The pictures of each prompt, by prompt_id: file_name, index and difference."""
    columns = ["file_name", "index", "difference"]
    return {
        str(prompt_id): rows[columns].to_dict("records")
        for prompt_id, rows in pictures.groupby("prompt_id", sort=False)
    }


def _shorten(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
