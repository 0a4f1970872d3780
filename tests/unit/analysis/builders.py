"""Score tables and params that the tests of the analysis share."""

import pandas as pd

from stages.analysis.distances import Distance, Embeds, average_to, average_within
from stages.config.params import CompareParams
from stages.files.facts import Facts
from stages.scoring.metrics.metric import PIXELS, Description
from stages.scoring.metrics.registry import METRICS, describe_metrics

PARAMS = CompareParams(
    confidence_level=0.95, num_resamples=1000, smallest_relevant_difference=0.01, seed=0
)


FACTS = describe_metrics(METRICS, PIXELS)


def make_facts(name: str) -> dict[str, Facts]:
    """Of a metric of a picture that nobody knows."""
    words = {"label": name, "scale": "any", "source": "a test"}
    return {name: Description(name=name, direction="neither", **words).describe(PIXELS)}


def make_scores(cosines: dict[str, list[float]]) -> pd.DataFrame:
    """In-domain prompts, by prompt id, with the CLIP cosine of each picture."""
    return pd.DataFrame(
        {
            "file_name": f"{prompt_id}_{index:03d}.png",
            "prompt_id": prompt_id,
            "set": "in_domain",
            "class": "cat",
            "index": index,
            "prompt": prompt_id,
            "clip_cosine": cosine,
            "is_correct": cosine > 0.5,
        }
        for prompt_id, values in cosines.items()
        for index, cosine in enumerate(values)
    )


def compute_distance(a: Embeds, b: Embeds, distance: Distance) -> float:
    """Squared discrepancy of two sets, (N, E) and (M, E); not below 0 but by chance."""
    within = sum(average_within(x, distance) for x in (a, b))
    cross = average_to(a, b, distance.kernel).mean()
    return float(distance.scale * (within - 2 * cross))
