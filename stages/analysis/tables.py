"""The tables of `compare`: by set, by class and by prompt. Differences are finetuned - baseline."""

from typing import Any

import pandas as pd

from stages.analysis.paired import (
    bootstrap_interval,
    sign_flip_p_value,
    smallest_p_value,
)
from stages.analysis.verdict import judge
from stages.config.params import CompareParams

_ACCURACY_NAMES = {
    "is_correct_baseline": "zero_shot_accuracy_baseline",
    "is_correct_finetuned": "zero_shot_accuracy_finetuned",
}
_ESTIMATES = ("baseline", "finetuned", "difference", "ci_low", "ci_high")
_COUNTS = {"num_prompts": "int64", "num_images": "int64"}
_FLOATS = dict.fromkeys((*_ESTIMATES, *_ACCURACY_NAMES.values()), "float64")
_P_VALUES = dict.fromkeys(("p_value", "smallest_p_value"), "float64")

BY_SET_SCHEMA = {"set": "str", **_COUNTS, **_FLOATS, **_P_VALUES, "verdict": "str"}
BY_CLASS_SCHEMA = {"class": "str", **_COUNTS, **_FLOATS, **_P_VALUES}
_PROMPT = dict.fromkeys(("prompt_id", "set", "class", "prompt"), "str")
BY_PROMPT_SCHEMA = {**_PROMPT, "num_images": "int64", **_FLOATS}


def compare_sets(prompts: pd.DataFrame, params: CompareParams) -> pd.DataFrame:
    """A row a set of prompts, with its verdict; `prompts` as `average_per_prompt` gives them."""
    rows = [
        {"set": name, **_compare(group, params)}
        for name, group in prompts.groupby("set", sort=False)
    ]
    for row in rows:
        row["verdict"] = judge(row, params.confidence_level)
    return pd.DataFrame(rows)[list(BY_SET_SCHEMA)]


def compare_classes(prompts: pd.DataFrame, params: CompareParams) -> pd.DataFrame:
    """A row a class of the class prompts."""
    in_domain = prompts[prompts["set"] == "class"]
    rows = [
        {"class": name, **_compare(group, params)}
        for name, group in in_domain.groupby("class", sort=False)
    ]
    return pd.DataFrame(rows, columns=list(BY_CLASS_SCHEMA))


def compare_prompts(
    pairs: pd.DataFrame, prompts: pd.DataFrame, params: CompareParams
) -> pd.DataFrame:
    """A row a prompt; its interval is over its own pictures and says nothing of other prompts."""
    intervals = pairs.groupby("prompt_id", sort=False)["difference"].agg(
        lambda differences: bootstrap_interval(differences.to_numpy(), params)
    )
    low, high = zip(*intervals.loc[prompts["prompt_id"]], strict=True)
    renamed = prompts.rename(columns=_ACCURACY_NAMES)
    return renamed.assign(ci_low=low, ci_high=high)[list(BY_PROMPT_SCHEMA)]


def summarise(by_set: pd.DataFrame, num_bad_images: int) -> dict[str, float | int | None]:
    """A dozen flat numbers for `dvc exp show`."""
    rows = {row["set"]: row for row in by_set.to_dict("records")}
    summary: dict[str, Any] = {}
    if "class" in rows:
        for name in (*_ESTIMATES, "p_value"):
            summary[f"clip_cosine_class_{name}"] = rows["class"][name]
    if "marketing" in rows:
        for name in ("difference", "ci_low", "ci_high", "p_value"):
            summary[f"clip_cosine_marketing_{name}"] = rows["marketing"][name]
    if "class" in rows:
        before, after = (rows["class"][name] for name in _ACCURACY_NAMES.values())
        summary["zero_shot_accuracy_class_difference"] = after - before
    summary["num_bad_images"] = num_bad_images
    return {name: None if pd.isna(value) else value for name, value in summary.items()}


def _compare(prompts: pd.DataFrame, params: CompareParams) -> dict[str, Any]:
    differences = prompts["difference"].to_numpy(dtype=float)
    low, high = bootstrap_interval(differences, params)
    return {
        "num_prompts": len(prompts),
        "num_images": int(prompts["num_images"].sum()),
        "baseline": prompts["baseline"].mean(),
        "finetuned": prompts["finetuned"].mean(),
        "difference": differences.mean(),
        "ci_low": low,
        "ci_high": high,
        "p_value": sign_flip_p_value(differences, params),
        "smallest_p_value": smallest_p_value(len(prompts), params.num_resamples),
        **{name: prompts[column].mean() for column, name in _ACCURACY_NAMES.items()},
    }
