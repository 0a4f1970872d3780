"""Score tables and params that the tests of the analysis share."""

import pandas as pd

from stages.config.params import CompareParams

PARAMS = CompareParams(
    confidence_level=0.95, num_resamples=1000, smallest_relevant_difference=0.01, seed=0
)


def make_scores(cosines: dict[str, list[float]]) -> pd.DataFrame:
    """Class prompts, by prompt id, with the CLIP cosine of each picture."""
    return pd.DataFrame(
        {
            "file_name": f"{prompt_id}_{index:03d}.png",
            "prompt_id": prompt_id,
            "set": "class",
            "class": "cat",
            "index": index,
            "prompt": prompt_id,
            "clip_cosine": cosine,
            "is_correct": cosine > 0.5,
        }
        for prompt_id, values in cosines.items()
        for index, cosine in enumerate(values)
    )
