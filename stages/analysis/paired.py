"""Pairs of pictures, baseline and finetuned, and their means by prompt.

The unit is the prompt: pictures of one prompt are not independent, so they are averaged first.
Both variants of a picture start from the same noise, so each difference is a paired one.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stages.config.mistakes import UserError
from stages.files.facts import Facts

KEY = ["prompt_id", "index"]
DESCRIPTION = ["file_name", "prompt_id", "set", "class", "prompt", "index"]
PROMPT = ["prompt_id", "set", "class", "prompt"]


def align_scores(
    baseline: pd.DataFrame, finetuned: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both score tables in the baseline's order of (prompt_id, index), rows numbered from 0.

    Raises:
        UserError: A picture is doubled, or missing on one side.
    """
    for variant, scores in (("baseline", baseline), ("finetuned", finetuned)):
        _check_keys(scores, variant)
    shared = baseline[KEY].merge(finetuned[KEY], on=KEY)
    if not len(shared) == len(baseline) == len(finetuned):
        raise UserError(
            f"the scores do not pair up: {len(baseline)} baseline and {len(finetuned)} finetuned "
            f"pictures, {len(shared)} in both; run `dvc repro` so that both are sampled alike"
        )
    return baseline.reset_index(drop=True), baseline[KEY].merge(finetuned, on=KEY, how="left")


def pair_scores(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> pd.DataFrame:
    """Align two score tables: a row a picture, in the baseline's order.

    Returns:
        `DESCRIPTION`, `baseline`, `finetuned` (clip_cosine), `difference`, `is_correct_baseline`,
        `is_correct_finetuned`.

    Raises:
        UserError: A picture is doubled, missing on one side, or has a score that is no number.
    """
    baseline, finetuned = align_scores(baseline, finetuned)
    for variant, scores in (("baseline", baseline), ("finetuned", finetuned)):
        check_numbers(scores, "clip_cosine", variant)
    return baseline[DESCRIPTION].assign(
        baseline=baseline["clip_cosine"],
        finetuned=finetuned["clip_cosine"],
        is_correct_baseline=take_correct(baseline),
        is_correct_finetuned=take_correct(finetuned),
        difference=finetuned["clip_cosine"] - baseline["clip_cosine"],
    )


def pair_metrics(
    baseline: pd.DataFrame, finetuned: pd.DataFrame, facts: Mapping[str, Facts]
) -> pd.DataFrame:
    """A row a picture and metric of a picture, but for one of which a set has no number at all.

    Returns:
        `DESCRIPTION`, `metric`, `direction`, `baseline`, `finetuned`, `difference`.

    Raises:
        UserError: As `pair_scores`, or a metric has no column.
    """
    baseline, finetuned = align_scores(baseline, finetuned)
    tables = []
    columns = {name: entry.column for name, entry in facts.items() if entry.unit == "picture"}
    for set_name, rows in baseline.groupby("set", sort=False):
        for metric, column in columns.items():
            before = take_values(baseline.loc[rows.index], metric, column, "baseline")
            after = take_values(finetuned.loc[rows.index], metric, column, "finetuned")
            if before is not None and after is not None:
                tables.append(
                    rows[DESCRIPTION].assign(
                        metric=metric,
                        direction=facts[metric].direction[str(set_name)],
                        baseline=before,
                        finetuned=after,
                        difference=after - before,
                    )
                )
    return pd.concat(tables, ignore_index=True)


def average_per_prompt(pairs: pd.DataFrame) -> pd.DataFrame:
    """Mean of each prompt over its pictures, (P rows), in order of appearance."""
    return _average(pairs, ["is_correct_baseline", "is_correct_finetuned"], [])


def average_metrics(values: pd.DataFrame) -> pd.DataFrame:
    """Mean of each prompt and metric over its pictures; `values` as `pair_metrics` gives them."""
    return _average(values, [], ["metric", "direction"])


def take_correct(scores: pd.DataFrame) -> pd.Series:
    """1 where a picture is taken for its class, else 0; NaN where it has no class."""
    return scores["is_correct"].astype(float).where(scores["class"] != "")


def take_values(scores: pd.DataFrame, metric: str, column: str, variant: str) -> pd.Series | None:
    """A metric's numbers; None where pictures have none.

    Raises:
        UserError: There is no such column, or a picture of several has no number.
    """
    if column not in scores:
        raise UserError(
            f"{variant} scores: no column {column} for metric {metric}; run `dvc repro score`"
        )
    if scores[column].isna().all():
        return None
    check_numbers(scores, column, variant)
    return scores[column].astype(float)


def check_numbers(scores: pd.DataFrame, column: str, variant: str) -> None:
    """Refuse a score that is no number.

    Raises:
        UserError: One is; names the first picture.
    """
    numbers = pd.to_numeric(scores[column], errors="coerce").astype(float)
    broken = scores[~np.isfinite(numbers)]
    if len(broken):
        prompt_id, index = broken.iloc[0][KEY]
        raise UserError(f"{variant} scores: picture {index} of {prompt_id} has no {column}")


def _average(pairs: pd.DataFrame, more_values: list[str], more_keys: list[str]) -> pd.DataFrame:
    names = ["baseline", "finetuned", "difference", *more_values]
    means = pairs.groupby([*PROMPT, *more_keys], sort=False, dropna=False).agg(
        num_images=("index", "size"), **{name: (name, "mean") for name in names}
    )
    return means.reset_index()


def _check_keys(scores: pd.DataFrame, variant: str) -> None:
    doubled = scores[scores.duplicated(KEY)]
    if len(doubled):
        prompt_id, index = doubled.iloc[0][KEY]
        raise UserError(f"{variant} scores: picture {index} of {prompt_id} is there twice")
