"""Paired differences, finetuned - baseline, with intervals and p-values.

The unit is the prompt: pictures of one prompt are not independent, so they are averaged first.
Both variants of a picture start from the same noise, so each difference is a paired one.
"""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from stages.config.params import CompareParams

KEY = ["prompt_id", "index"]
DESCRIPTION = ["file_name", "prompt_id", "set", "class", "prompt", "index"]
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Confidence limits; both NaN where one value alone says nothing about its spread."""

    low: float
    high: float


def pair_scores(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> pd.DataFrame:
    """Align two score tables on (prompt_id, index): a row a picture, in the baseline's order.

    Returns:
        `DESCRIPTION`, `baseline`, `finetuned` (clip_cosine), `difference`, `is_correct_baseline`,
        `is_correct_finetuned`.

    Raises:
        ValueError: A picture is doubled, missing on one side, or has a score that is no number.
    """
    for variant, scores in (("baseline", baseline), ("finetuned", finetuned)):
        _check_scores(scores, variant)
    pairs = baseline[[*DESCRIPTION, "clip_cosine", "is_correct"]].merge(
        finetuned[[*KEY, "clip_cosine", "is_correct"]], on=KEY, suffixes=("_baseline", "_finetuned")
    )
    if not len(pairs) == len(baseline) == len(finetuned):
        raise ValueError(
            f"the scores do not pair up: {len(baseline)} baseline and {len(finetuned)} finetuned "
            f"pictures, {len(pairs)} in both; run `dvc repro` so that both are sampled alike"
        )
    pairs = pairs.rename(
        columns={"clip_cosine_baseline": "baseline", "clip_cosine_finetuned": "finetuned"}
    )
    return pairs.assign(difference=pairs["finetuned"] - pairs["baseline"])


def average_per_prompt(pairs: pd.DataFrame) -> pd.DataFrame:
    """Mean of each prompt over its pictures, (P rows), in order of appearance."""
    means = pairs.groupby("prompt_id", sort=False).agg(
        **{name: (name, "first") for name in ("set", "class", "prompt")},
        num_images=("index", "size"),
        **{
            name: (name, "mean")
            for name in (
                "baseline",
                "finetuned",
                "difference",
                "is_correct_baseline",
                "is_correct_finetuned",
            )
        },
    )
    return means.reset_index()


def bootstrap_interval(differences: Floats, params: CompareParams) -> Interval:
    """Bootstrap the mean of differences, (P,): BCa (Efron 1987), or percentile where BCa fails.

    Equal differences give exactly [d, d]; a single one gives NaN.
    """
    if len(differences) <= 1:
        return Interval(np.nan, np.nan)
    if np.ptp(differences) == 0:
        return Interval(float(differences[0]), float(differences[0]))
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            low, high = stats.bootstrap(
                (differences,),
                np.mean,
                n_resamples=params.num_resamples,
                confidence_level=params.confidence_level,
                method=method,
                rng=np.random.default_rng(params.seed),
            ).confidence_interval
        if np.isfinite([low, high]).all():
            break
    return Interval(float(low), float(high))


def sign_flip_p_value(differences: Floats, params: CompareParams) -> float:
    """Two-sided p-value of a mean difference of zero, by flipping the signs of differences, (P,).

    Exact where 2^P <= num_resamples.
    """
    if len(differences) == 1:
        return 1.0  # both signs are as extreme; scipy wants two
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=params.num_resamples,
        rng=np.random.default_rng(params.seed),
    )
    return float(test.pvalue)


def smallest_p_value(num_units: int, num_resamples: int) -> float:
    """What `sign_flip_p_value` can reach at the least with so many prompts, all of one sign."""
    is_exact = 2**num_units <= num_resamples
    return min(1.0, 2 / 2**num_units if is_exact else 2 / (num_resamples + 1))


def _check_scores(scores: pd.DataFrame, variant: str) -> None:
    doubled = scores[scores.duplicated(KEY)]
    if len(doubled):
        prompt_id, index = doubled.iloc[0][KEY]
        raise ValueError(f"{variant} scores: picture {index} of {prompt_id} is there twice")
    broken = scores[~np.isfinite(scores["clip_cosine"].astype(float))]
    if len(broken):
        prompt_id, index = broken.iloc[0][KEY]
        raise ValueError(f"{variant} scores: picture {index} of {prompt_id} has no clip_cosine")
