"""Metrics of several pictures at once: distance to the training pictures, diversity of a prompt."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.analysis.distances import (
    DISTANCES,
    DIVERSITIES,
    Distance,
    Embeds,
    average_to,
    average_within,
    iterate_rows,
    take_reference,
)
from stages.analysis.paired import PROMPT, align_scores
from stages.analysis.resampling import Floats, bootstrap_interval
from stages.analysis.results import BY_METRIC_SCHEMA
from stages.config.mistakes import UserError
from stages.config.params import CompareParams
from stages.files.facts import Facts


class EmbeddedPairs(NamedTuple):
    """Pictures in the scorer's space: unit-norm embeds (N, E), of both variants.

    Attributes:
        scores: Of the baseline, and where pictures pair, of the fine-tuned as well.
        baseline: Rows as in `scores`.
        finetuned: Rows as in `finetuned_scores`.
        finetuned_scores: The rows of `scores` where pictures pair.
    """

    scores: pd.DataFrame
    baseline: Embeds
    finetuned: Embeds
    finetuned_scores: pd.DataFrame


def pair_embeds(
    baseline: pd.DataFrame,
    finetuned: pd.DataFrame,
    baseline_embeds: Embeds,
    finetuned_embeds: Embeds,
    is_paired: bool = True,
) -> EmbeddedPairs:
    """Align embeds, (N, E) with rows as in their score tables, as `align_scores` does if they pair.

    Raises:
        UserError: As `align_scores`, or embeds and scores are not equally many.
    """
    numbered = []
    for variant, scores, embeds in (
        ("baseline", baseline, baseline_embeds),
        ("finetuned", finetuned, finetuned_embeds),
    ):
        if len(scores) != len(embeds):
            raise UserError(
                f"{variant}: {len(scores)} scores, but {len(embeds)} embeds; run `dvc repro score`"
            )
        numbered.append(scores.assign(row=range(len(scores))))
    if not is_paired:
        before, after = (scores.reset_index(drop=True) for scores in numbered)
        return EmbeddedPairs(before, baseline_embeds, finetuned_embeds, after)
    before, after = align_scores(*numbered)
    return EmbeddedPairs(
        before, baseline_embeds[before["row"]], finetuned_embeds[after["row"]], before
    )


def compare_diversity(pairs: EmbeddedPairs, facts: Mapping[str, Facts]) -> pd.DataFrame:
    """A row a prompt of several pictures and metric, with the columns of `average_metrics`."""
    columns = [*PROMPT, "metric", "direction", "num_images", "baseline", "finetuned", "difference"]
    rows = []
    for metric, entry in facts.items():
        if entry.unit != "prompt":
            continue
        measure = DIVERSITIES[metric]
        finetuned = pairs.finetuned_scores.groupby(PROMPT, sort=False).groups
        for prompt, group in pairs.scores.groupby(PROMPT, sort=False):
            places = (group.index, finetuned[prompt])
            if (num_images := min(map(len, places))) > 1:
                before = measure(pairs.baseline[places[0]])
                after = measure(pairs.finetuned[places[1]])
                name = (metric, entry.direction[prompt[PROMPT.index("set")]])
                rows.append((*prompt, *name, num_images, before, after, after - before))
    return pd.DataFrame(rows, columns=columns)


def compare_distances(
    pairs: EmbeddedPairs, reference: Embeds, facts: Mapping[str, Facts], params: CompareParams
) -> pd.DataFrame:
    """A row of `BY_METRIC_SCHEMA` a metric of a set: in-domain prompts to `reference`, (M, E).

    It has an interval but no p-value: the signs of what is no mean cannot be flipped.
    """
    reference = take_reference(reference)
    in_domain = (pairs.scores["set"] == "in_domain").to_numpy()
    variants = (pairs.baseline[in_domain], pairs.finetuned[in_domain])
    prompts, names = pd.factorize(pairs.scores["prompt_id"][in_domain])
    rows = []
    named = [name for name, entry in facts.items() if entry.unit == "set"]
    for metric in named if len(prompts) > 1 else ():
        distance = DISTANCES[metric]
        own = average_within(reference, distance)
        measured = [leave_out(prompts, embeds, reference, distance) for embeds in variants]
        before, after = (distance.scale * (own + whole) for whole, _ in measured)
        values = take_pseudo_values(*(without for _, without in measured)) * distance.scale
        interval = bootstrap_interval(values + (after - before), params)
        row = {
            "set": "in_domain",
            "metric": metric,
            "direction": facts[metric].direction["in_domain"],
            "num_prompts": len(names),
            "num_images": len(prompts),
            "baseline": before,
            "finetuned": after,
            "difference": after - before,
            "ci_low": interval.low,
            "ci_high": interval.high,
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(BY_METRIC_SCHEMA))


def take_pseudo_values(before: Floats, after: Floats) -> Floats:
    """What each of P prompts adds to the difference of two distances: (P,), with mean 0.

    Jackknife pseudo-values, less their mean (Tukey 1958; for such statistics Arvesen 1969): a
    distance is no mean over prompts, and these stand in for the values that it would be a mean of.
    So prompts are resampled with all of their pictures, without meeting the same picture twice.

    Args:
        before: The baseline's distances without each prompt, (P,).
        after: Those of the fine-tuned pictures.
    """
    without = after - before
    return (len(without) - 1) * (without.mean() - without)


def leave_out(
    prompts: np.ndarray, embeds: Embeds, reference: Embeds, distance: Distance
) -> tuple[float, Floats]:
    """Distance to the reference, whole and without each prompt, (P,), unscaled.

    The reference's own part, the same in all of them, is not in it.

    Args:
        prompts: (N,) numbers of prompts, from 0 to P - 1.
        embeds: (N, E).
        reference: Embeds (M, E).
        distance: What is measured.
    """
    num_images = len(prompts)
    sums, own = np.zeros(num_images), np.zeros(num_images)
    for rows, kernel in iterate_rows(embeds, embeds, distance.kernel):
        if distance.is_unbiased:
            np.fill_diagonal(kernel[:, rows], 0)
        sums[rows] = kernel.sum(axis=1)
        own[rows] = (kernel * (prompts[rows, None] == prompts)).sum(axis=1)
    nearness = average_to(embeds, reference, distance.kernel)

    def combine(within: Any, cross: Any, left: Any) -> Any:  # numbers, or arrays of them
        num_pairs = left * (left - 1 if distance.is_unbiased else left)
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where too few are left
            return within / num_pairs - 2 * cross / left

    whole = combine(sums.sum(), nearness.sum(), np.float64(num_images))
    within = sums.sum() - 2 * np.bincount(prompts, sums) + np.bincount(prompts, own)
    cross = nearness.sum() - np.bincount(prompts, nearness)
    return float(whole), combine(within, cross, num_images - np.bincount(prompts))
