"""How much pictures resemble one thing: DreamBooth's CLIP-I (Ruiz et al. 2023, section 4)."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.analysis.resampling import bootstrap_interval, sign_flip_p_value
from stages.config.params import CompareParams

Embeds = NDArray[np.float32]

NAME = "instance_similarity"
"""Of the metric: the mean cosine of a picture's embed to those of the thing's pictures."""


def measure_resemblance(image_embeds: Embeds, held_out_embeds: Embeds) -> NDArray[np.float64]:
    """The mean cosine of each picture to all that are held out, (N,) in [-1, 1].

    Args:
        image_embeds: (N, E), unit-norm.
        held_out_embeds: (R, E), unit-norm, of the thing.
    """
    cosines = image_embeds.astype(np.float64) @ held_out_embeds.astype(np.float64).T  # (N, R)
    return cosines.mean(axis=1)


def summarise_resemblance(
    pairs: pd.DataFrame, real: NDArray[np.float64], params: CompareParams
) -> dict[str, Any]:
    """The numbers of metrics/instance.json; the unit is the prompt.

    Args:
        pairs: A row a picture: `prompt_id`, `baseline` and `finetuned`.
        real: The same cosine of pictures of the thing itself: what could be reached.
        params: Of interval and p-value.
    """
    prompts = pairs.groupby("prompt_id", sort=False)[["baseline", "finetuned"]].mean()
    differences = (prompts["finetuned"] - prompts["baseline"]).to_numpy()
    low, high = bootstrap_interval(differences, params)
    values = {
        f"{NAME}_baseline": prompts["baseline"].mean(),
        f"{NAME}_finetuned": prompts["finetuned"].mean(),
        f"{NAME}_difference": differences.mean(),
        f"{NAME}_ci_low": low,
        f"{NAME}_ci_high": high,
        f"{NAME}_p_value": sign_flip_p_value(differences, params),
        f"{NAME}_real": real.mean(),
        "num_instance_prompts": len(prompts),
        "num_instance_images": len(pairs),
    }
    return {name: None if pd.isna(value) else _to_number(value) for name, value in values.items()}


def _to_number(value: Any) -> float | int:
    return value if isinstance(value, int) else float(value)
