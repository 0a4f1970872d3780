"""The tables of `compare`: by set, class, prompt, metric. Differences are finetuned - baseline."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stages.analysis.design import count_more_prompts, measure_spread
from stages.analysis.effect import compute_effect_size, find_smallest_detectable_difference
from stages.analysis.given_prompts import judge_given_prompts
from stages.analysis.multiple import adjust_holm
from stages.analysis.resampling import (
    Interval,
    bootstrap_interval,
    sign_flip_p_value,
    smallest_p_value,
)
from stages.analysis.results import (
    BY_CLASS_SCHEMA,
    BY_METRIC_SCHEMA,
    BY_PROMPT_SCHEMA,
    BY_SET_SCHEMA,
    GIVEN,
)
from stages.analysis.verdict import KEYWORDS, Verdict, judge
from stages.config.params import CompareParams

_ACCURACY_NAMES = {
    "is_correct_baseline": "zero_shot_accuracy_baseline",
    "is_correct_finetuned": "zero_shot_accuracy_finetuned",
}


def compare_sets(pairs: pd.DataFrame, prompts: pd.DataFrame, params: CompareParams) -> pd.DataFrame:
    """A row a set of prompts, with its verdict and what would settle it.

    Args:
        pairs: As `pair_scores` gives them.
        prompts: As `average_per_prompt` gives them.
        params: Level, number of resamples and what is relevant.
    """
    groups = dict(list(prompts.groupby("set", sort=False)))
    if not groups:
        return pd.DataFrame(columns=list(BY_SET_SCHEMA))
    rows = _compare_groups(groups, "set", params)
    rows["verdict"] = _judge_groups(rows, groups, rows["p_value"], params)
    spreads = [measure_spread(pairs[pairs["set"] == name]) for name in groups]
    rows["sd_prompts"], rows["sd_pictures"] = ([s[i] for s in spreads] for i in range(2))
    rows["more_prompts"] = [
        count_more_prompts(spread, row.num_prompts, row.num_images / row.num_prompts, params)
        for spread, row in zip(spreads, rows.itertuples(), strict=True)
    ]
    return rows[list(BY_SET_SCHEMA)]


def compare_classes(
    pairs: pd.DataFrame, prompts: pd.DataFrame, params: CompareParams
) -> pd.DataFrame:
    """A row a class of the in-domain prompts; verdicts by p-values adjusted for all classes.

    None where pictures have no class.

    Columns that begin with `GIVEN` are of the very prompts, the others of prompts like these.
    """
    in_domain = prompts[(prompts["set"] == "in_domain") & (prompts["class"] != "")]
    groups = dict(list(in_domain.groupby("class", sort=False)))
    if not groups:
        return pd.DataFrame(columns=list(BY_CLASS_SCHEMA))
    rows = _compare_groups(groups, "class", params)
    rows["p_value_holm"] = adjust_holm(rows["p_value"].to_numpy())
    rows["verdict"] = _judge_groups(rows, groups, rows["p_value_holm"], params)
    given = judge_given_prompts(pairs[pairs["set"] == "in_domain"], "class", params)
    rows = rows.join(given.add_prefix(GIVEN), on="class")
    return rows[list(BY_CLASS_SCHEMA)]


def compare_prompts(
    pairs: pd.DataFrame, prompts: pd.DataFrame, params: CompareParams
) -> pd.DataFrame:
    """A row a prompt, judged by its own pictures: it says nothing of other prompts.

    Each set is a family of its own.
    """
    given = pd.concat(
        judge_given_prompts(of_set, "prompt_id", params)
        for _, of_set in pairs.groupby("set", sort=False)
    )
    renamed = prompts.rename(columns=_ACCURACY_NAMES)
    return renamed.join(given, on="prompt_id")[list(BY_PROMPT_SCHEMA)]


def compare_metrics(prompts: pd.DataFrame, params: CompareParams) -> pd.DataFrame:
    """A row a set and metric; `prompts` as `average_metrics` gives them.

    The metrics of a set are a family. The sets are two questions, help and harm, and two families.
    """
    rows = [
        {"set": name, "metric": metric, "direction": direction, **_estimate(group, params)}
        for (name, metric, direction), group in prompts.groupby(
            ["set", "metric", "direction"], sort=False
        )
    ]
    table = pd.DataFrame(rows)
    table["p_value_holm"] = table.groupby("set", sort=False)["p_value"].transform(adjust_holm)
    return table[list(BY_METRIC_SCHEMA)]


def summarise(by_set: pd.DataFrame, num_bad: int) -> dict[str, float | int | str | None]:
    """What `dvc metrics show` and `dvc exp show` print; null where there is no such set or number.

    `difference`, `low` and `high` are of CLIP cosine; `num_bad` are fine-tuned pictures.
    """
    rows = by_set.set_index("set").reindex(["in_domain", "marketing"])
    in_domain, marketing = rows.to_dict("records")
    before, after = (in_domain[name] for name in _ACCURACY_NAMES.values())
    summary: dict[str, Any] = {
        "in_domain_difference": in_domain["difference"],
        "in_domain_low": in_domain["ci_low"],
        "in_domain_high": in_domain["ci_high"],
        "in_domain_verdict": KEYWORDS.get(in_domain["verdict"]),
        "in_domain_zero_shot_difference": after - before,
        "marketing_difference": marketing["difference"],
        "marketing_low": marketing["ci_low"],
        "marketing_high": marketing["ci_high"],
        "marketing_verdict": KEYWORDS.get(marketing["verdict"]),
        "bad_pictures": num_bad,
    }
    return {name: None if pd.isna(value) else value for name, value in summary.items()}


def _compare_groups(
    groups: Mapping[str, pd.DataFrame], label: str, params: CompareParams
) -> pd.DataFrame:
    return pd.DataFrame({label: name, **_compare(group, params)} for name, group in groups.items())


def _judge_groups(
    rows: pd.DataFrame,
    groups: Mapping[str, pd.DataFrame],
    p_values: pd.Series,
    params: CompareParams,
) -> list[Verdict]:
    limits = zip(rows["ci_low"], rows["ci_high"], strict=True)
    return [
        judge(group["difference"].to_numpy(), Interval(*ends), p_value, params)
        for group, ends, p_value in zip(groups.values(), limits, p_values, strict=True)
    ]


def _compare(prompts: pd.DataFrame, params: CompareParams) -> dict[str, Any]:
    differences = prompts["difference"].to_numpy(dtype=float)
    return {
        **_estimate(prompts, params),
        "smallest_p_value": smallest_p_value(len(prompts), params.num_resamples),
        "smallest_detectable_difference": find_smallest_detectable_difference(differences, params),
        **{name: prompts[column].mean() for column, name in _ACCURACY_NAMES.items()},
    }


def _estimate(prompts: pd.DataFrame, params: CompareParams) -> dict[str, Any]:
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
        "p_value": float(sign_flip_p_value(differences, params)),
        "effect_size": compute_effect_size(differences),
        "difference_sd": differences.std(ddof=1) if len(differences) > 1 else math.nan,
    }
