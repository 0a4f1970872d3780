"""Several training seeds pooled: seeds and prompts are both samples of what could have been."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from stages.analysis.resampling import Floats, Interval
from stages.analysis.results import POOLED_SCHEMA
from stages.analysis.verdict import judge
from stages.config.mistakes import UserError
from stages.config.notation import word_set
from stages.config.params import CompareParams

_TINY = 1e-12
"""No p-value is told from a smaller one."""


class Components(NamedTuple):
    """Mean squares of a table of S seeds and P prompts, one value a cell."""

    seeds: float
    prompts: float
    residual: float


def pool_seeds(tables: Mapping[str, pd.DataFrame], params: CompareParams) -> pd.DataFrame:
    """A row a set and metric (clip_cosine, zero_shot_accuracy), training noise included.

    The sd columns say where the differences come from: training seed, prompt, and their interplay
    with the noise of few pictures.

    Args:
        tables: The experiment's name to its plots/data/comparison/by_prompt.csv; two or more.
        params: As of `compare`.

    Raises:
        UserError: There is one experiment, or experiments differ in their prompts.
    """
    if len(tables) == 1:
        raise UserError("found one experiment; pooling wants two or more, of different seeds")
    differences = pd.concat(
        {name: _measure_differences(table) for name, table in tables.items()}, names=["experiment"]
    )
    rows = []
    for (set_name, metric), values in differences.groupby(["set", "metric"], sort=False):
        wide = values.unstack("experiment")  # (P, S)
        if wide.isna().any(axis=None):
            raise UserError(
                f"{', '.join(tables)}: not the same {word_set(set_name)} prompts; pool experiments "
                "that differ only in their seeds"
            )
        row = _pool(wide.to_numpy().T, params, is_main=metric == "clip_cosine")
        rows.append({"set": set_name, "metric": metric, **row})
    return pd.DataFrame(rows)[list(POOLED_SCHEMA)]


def find_components(differences: Floats) -> Components:
    """Mean squares of differences, (S, P), by seeds, prompts and what is left."""
    num_seeds, num_prompts = differences.shape
    by_seed, by_prompt = differences.mean(axis=1), differences.mean(axis=0)
    residual = differences - by_seed[:, None] - by_prompt + differences.mean()
    return Components(
        seeds=num_prompts * by_seed.var(ddof=1),
        prompts=num_seeds * by_prompt.var(ddof=1) if num_prompts > 1 else math.nan,
        residual=float((residual**2).sum() / max((num_seeds - 1) * (num_prompts - 1), 1)),
    )


def find_half_width(differences: Floats, confidence_level: float) -> float:
    """Half of the interval of the mean of differences, (S, P), with seeds and prompts as samples.

    sqrt((t_S^2 MS_seeds + t_P^2 MS_prompts) / (S P)), t with S - 1 and P - 1 degrees of freedom:
    Banerjee's (1960) weights for a sum of estimated variances, which cover at least as often as
    they say. The residual is in both mean squares, once too often.
    """
    num_seeds, num_prompts = differences.shape
    components = find_components(differences)
    seeds, prompts = stats.t.ppf((1 + confidence_level) / 2, [num_seeds - 1, num_prompts - 1])
    total = seeds**2 * components.seeds + prompts**2 * components.prompts
    return float(np.sqrt(total / differences.size))


def find_p_value(differences: Floats) -> float:
    """The alpha at which the interval of differences, (S, P), just reaches zero."""
    return invert_interval(
        float(differences.mean()), lambda level: find_half_width(differences, level)
    )


def invert_interval(mean: float, find_half_width: Callable[[float], float]) -> float:
    """The alpha at which an interval about a mean just reaches zero; NaN where there is none.

    Args:
        mean: Its middle.
        find_half_width: From the level of confidence.
    """
    if mean == 0:
        return 1.0

    def reach(alpha: float) -> float:
        return find_half_width(1 - alpha) - abs(mean)

    if math.isnan(reach(_TINY)):
        return math.nan
    return float(optimize.brentq(reach, _TINY, 1.0)) if reach(_TINY) > 0 else _TINY


def _measure_differences(by_prompt: pd.DataFrame) -> pd.Series:
    """Differences by set, metric and prompt id."""
    accuracy = by_prompt["zero_shot_accuracy_finetuned"] - by_prompt["zero_shot_accuracy_baseline"]
    values = by_prompt[["set", "prompt_id"]].assign(
        clip_cosine=by_prompt["difference"], zero_shot_accuracy=accuracy
    )
    long = values.melt(["set", "prompt_id"], var_name="metric", value_name="difference")
    return long.set_index(["set", "metric", "prompt_id"])["difference"]


def _pool(differences: Floats, params: CompareParams, is_main: bool) -> dict[str, Any]:
    num_seeds, num_prompts = differences.shape
    mean = float(differences.mean())
    components = find_components(differences)
    half_width = find_half_width(differences, params.confidence_level)
    interval = Interval(mean - half_width, mean + half_width)
    p_value = math.nan if math.isnan(half_width) else find_p_value(differences)
    return {
        "num_seeds": num_seeds,
        "num_prompts": num_prompts,
        "difference": mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "p_value": p_value,
        "sd_seeds": _take_sd(components.seeds - components.residual, num_prompts),
        "sd_prompts": _take_sd(components.prompts - components.residual, num_seeds),
        "sd_residual": math.sqrt(components.residual),
        "verdict": judge(differences, interval, p_value, params) if is_main else "",
    }


def _take_sd(excess: float, num_repeats: int) -> float:
    """Standard deviation of a component, from its mean square beyond the residual's."""
    return excess if math.isnan(excess) else math.sqrt(max(excess, 0) / num_repeats)
