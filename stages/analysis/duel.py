"""Every pair of experiments on the same prompts and noise, prompt by prompt.

An arm is what is compared: the shared baseline, an experiment, or several that differ in their
training seed alone. Differences are the first arm - the second.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stages.analysis.given_prompts import judge_given_prompts
from stages.analysis.multiple import adjust_holm
from stages.analysis.paired import KEY, align_scores
from stages.analysis.pooled import invert_interval
from stages.analysis.resampling import (
    Floats,
    Interval,
    bootstrap_interval,
    sign_flip_p_value,
)
from stages.analysis.results import DUELS_BY_CLASS_SCHEMA, DUELS_SCHEMA
from stages.analysis.verdict import judge
from stages.config.mistakes import UserError
from stages.config.params import CompareParams
from stages.files.facts import Facts

METRIC = "clip_cosine"
"""On which verdicts rest."""

Arms = Mapping[str, Sequence[pd.DataFrame]]
"""Name to score tables, one a training seed, each of the same pictures in the same order."""


def align_arms(arms: Arms, is_paired: bool = True) -> dict[str, list[pd.DataFrame]]:
    """All tables in the order of the first arm's, without sets that not every one has.

    Those whose pictures do not pair stay as they are, but need the same prompts.

    Raises:
        UserError: A picture is missing somewhere, or a prompt.
    """
    tables = [table for tables in arms.values() for table in tables]
    shared = set.intersection(*(set(table["set"]) for table in tables))
    first = tables[0][tables[0]["set"].isin(shared)]
    if not is_paired:
        kept = {name: [t[t["set"].isin(shared)] for t in tables] for name, tables in arms.items()}
        for name, tables in kept.items():
            if any(set(table["prompt_id"]) != set(first["prompt_id"]) for table in tables):
                raise UserError(f"{name}: its prompts are not those of {next(iter(arms))}")
        return {name: [t.reset_index(drop=True) for t in ts] for name, ts in kept.items()}
    return {
        name: [align_scores(first, table[table["set"].isin(shared)])[1] for table in tables]
        for name, tables in arms.items()
    }


def compare_arms(arms: Arms, facts: Mapping[str, Facts], params: CompareParams) -> pd.DataFrame:
    """A row of `DUELS_SCHEMA` a set, metric of a picture and pair of arms.

    p-values are adjusted for all pairs (Holm); verdicts, of `METRIC` alone, are by these.
    """
    first = next(iter(arms.values()))[0]
    rows = []
    for set_name, prompts in first.groupby("set", sort=False)["prompt_id"]:
        of_set = {
            name: [table[table["set"] == set_name] for table in tables]
            for name, tables in arms.items()
        }
        for metric, entry in facts.items():
            if entry.unit != "picture" or entry.column not in first:
                continue
            values = {
                name: np.array([_average(table, entry.column, prompts) for table in tables])
                for name, tables in of_set.items()
            }
            if any(np.isnan(table).any() for table in values.values()):
                continue
            duels = [
                {
                    "set": set_name,
                    "metric": metric,
                    "direction": entry.direction[str(set_name)],
                    "a": a,
                    "b": b,
                    "num_prompts": prompts.nunique(),
                    "num_images": min(len(of_set[name][0]) for name in (a, b)),
                    **_compare(values[a], values[b], params),
                }
                for a, b in combinations(arms, 2)
            ]
            adjusted = adjust_holm(np.array([duel["p_value"] for duel in duels]))
            for duel, p_value in zip(duels, adjusted, strict=True):
                differences = values[duel["a"]].mean(axis=0) - values[duel["b"]].mean(axis=0)
                interval = Interval(duel["ci_low"], duel["ci_high"])
                verdict = judge(differences, interval, p_value, params) if metric == METRIC else ""
                rows.append(duel | {"p_value_holm": p_value, "verdict": verdict})
    return pd.DataFrame(rows, columns=list(DUELS_SCHEMA))


def compare_arms_by_class(
    arms: Arms, params: CompareParams, is_paired: bool = True
) -> pd.DataFrame:
    """A row of `DUELS_BY_CLASS_SCHEMA` a pair of arms and class, on the very prompts.

    Seeds are averaged: what is random is the noise of the pictures. All pairs and classes are one
    family. None where pictures have no class.
    """
    means = {}
    for name, tables in arms.items():
        averaged = tables[0].assign(mean=np.mean([table[METRIC] for table in tables], axis=0))
        is_judged = (averaged["set"] == "in_domain") & (averaged["class"] != "")
        means[name] = averaged[is_judged][["class", *KEY, "mean"]]
    parts = []
    for a, b in combinations(arms, 2):
        first, second = means[a], means[b]
        if is_paired:
            values = first.assign(difference=first["mean"] - second["mean"])
        else:
            sides = (
                first.assign(side="a", difference=first["mean"]),
                second.assign(side="b", difference=-second["mean"]),
            )
            values = pd.concat(sides)
        parts.append(values.assign(a=a, b=b))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        return pd.DataFrame(columns=list(DUELS_BY_CLASS_SCHEMA))
    groups = table.groupby(["a", "b", "class"], sort=False)
    table["duel"] = groups.ngroup()
    table["prompt_id"] = table["duel"].astype(str) + table["prompt_id"]
    judged = judge_given_prompts(table, "duel", params)
    samples = ["duel", "prompt_id", *(["side"] if "side" in table else [])]
    prompts = table.groupby(samples, sort=False)["difference"].mean()
    prompts = prompts.groupby(level=["duel", "prompt_id"], sort=False).sum()
    rows = table.drop_duplicates("duel").set_index("duel")[["a", "b", "class"]]
    rows = rows.assign(difference=prompts.groupby("duel").mean()).join(judged)
    return rows[list(DUELS_BY_CLASS_SCHEMA)].reset_index(drop=True)


def find_unbeaten(duels: pd.DataFrame, names: Sequence[str], set_name: str) -> list[str]:
    """The arms that no other is shown to beat."""
    rows = duels[(duels["set"] == set_name) & (duels["metric"] == METRIC)]
    beaten = {
        row.b if row.verdict == "better" else row.a
        for row in rows.itertuples()
        if row.verdict in ("better", "worse")
    }
    return [name for name in names if name not in beaten]


def split_prompts(scores: pd.DataFrame, seed: int) -> pd.Series:
    """Whether each picture's prompt is in the first half: at random, by set and class."""
    prompts = scores.drop_duplicates("prompt_id")
    order = np.random.default_rng(seed).permutation(len(prompts))
    shuffled = prompts.iloc[order].sort_values(["set", "class"], kind="stable")
    is_first = pd.Series(np.arange(len(shuffled)) % 2 == 0, index=shuffled["prompt_id"])
    return scores["prompt_id"].map(is_first)


def pick_best(arms: Arms, is_first: pd.Series) -> str:
    """The arm with the highest mean of `METRIC` on the first half of the in-domain prompts.

    Args:
        arms: Aligned, if their pictures pair.
        is_first: Of each row of the first arm's first table.
    """
    first = next(iter(arms.values()))[0]
    prompts = first["prompt_id"][is_first & (first["set"] == "in_domain")]
    means = {
        name: np.mean([_average(table, METRIC, prompts) for table in tables])
        for name, tables in arms.items()
    }
    return max(means, key=lambda name: means[name])


def _average(scores: pd.DataFrame, column: str, prompts: pd.Series) -> Floats:
    """Mean of each of the prompts over its pictures, (P,)."""
    means = scores[column].astype(float).groupby(scores["prompt_id"], sort=False).mean()
    return means.loc[prompts.unique()].to_numpy()


def _compare(a: Floats, b: Floats, params: CompareParams) -> dict[str, Any]:
    """Estimates from (S_a, P) and (S_b, P)."""
    differences = a.mean(axis=0) - b.mean(axis=0)
    mean = float(differences.mean())
    if len(a) == len(b) == 1:
        interval = bootstrap_interval(differences, params)
        p_value = float(sign_flip_p_value(differences, params))
    else:
        half_width = find_half_width(a, b, params.confidence_level)
        interval = Interval(mean - half_width, mean + half_width)
        p_value = invert_interval(mean, lambda level: find_half_width(a, b, level))
    return {
        "mean_a": float(a.mean()),
        "mean_b": float(b.mean()),
        "difference": mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "p_value": p_value,
    }


def find_half_width(a: Floats, b: Floats, confidence_level: float) -> float:
    """Half of the interval of a difference of means, of (S_a, P) and (S_b, P).

    Prompts and the seeds of an arm that has several are samples, each variance with its own t, as
    in `pooled.find_half_width`. An arm of one seed is taken as it is. NaN for one prompt.
    """
    differences = a.mean(axis=0) - b.mean(axis=0)
    if len(differences) == 1:
        return math.nan
    level = (1 + confidence_level) / 2
    total = (
        stats.t.ppf(level, len(differences) - 1) ** 2 * differences.var(ddof=1) / len(differences)
    )
    for arm in (a, b):
        if len(arm) > 1:
            seeds = arm.mean(axis=1)
            total += stats.t.ppf(level, len(seeds) - 1) ** 2 * seeds.var(ddof=1) / len(seeds)
    return float(np.sqrt(total))
