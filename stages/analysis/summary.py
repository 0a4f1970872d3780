"""One variant in a dozen numbers: metrics/V.json."""

import numpy as np
import pandas as pd

from stages.analysis.collapse import count_collapse
from stages.analysis.distances import (
    CMMD,
    KID,
    Embeds,
    compute_distance,
    measure_diversity,
    take_reference,
)


def summarise_scores(scores: pd.DataFrame) -> dict[str, float | int]:
    """Means by set, over prompts of the same number of pictures, and the counts of bad pictures."""
    sets = scores.groupby("set", sort=True)
    cosines, accuracies = sets["clip_cosine"].mean(), sets["is_correct"].mean()
    return {
        **{f"clip_cosine_{name}": float(mean) for name, mean in cosines.items()},
        **{f"zero_shot_accuracy_{name}": float(mean) for name, mean in accuracies.items()},
        **count_collapse(scores),
    }


def summarise_sets(
    scores: pd.DataFrame, image_embeds: Embeds, training_embeds: Embeds
) -> dict[str, float]:
    """Distance of the class prompts' pictures to the training pictures; diversity of each set.

    What one picture alone cannot have is left out.
    """
    values = {}
    in_domain = image_embeds[(scores["set"] == "class").to_numpy()]
    reference = take_reference(training_embeds)
    if min(len(in_domain), len(reference)) > 1:
        values["kid_class"] = compute_distance(in_domain, reference, KID)
        values["cmmd_class"] = compute_distance(in_domain, reference, CMMD)
    for name, rows in scores.reset_index(drop=True).groupby("set", sort=True):
        groups = list(rows.groupby("prompt_id").groups.values())
        if min(map(len, groups)) > 1:
            diversity = [measure_diversity(image_embeds[group]) for group in groups]
            values[f"diversity_{name}"] = float(np.mean(diversity))
    return values
