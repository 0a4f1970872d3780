"""All that is measured. A metric is named here once, and is known everywhere by that."""

from collections.abc import Mapping, Sequence

import torch

from stages.files.facts import Facts
from stages.scoring.metrics.clip import (
    CLIP_COSINE,
    RETRIEVAL_RANK,
    ZERO_SHOT_ACCURACY,
    name_classes,
)
from stages.scoring.metrics.hpsv2 import HPSV2
from stages.scoring.metrics.image_reward import IMAGE_REWARD
from stages.scoring.metrics.iqa import LAION_AESTHETIC, MUSIQ
from stages.scoring.metrics.metric import Compute, Description, Metric, Origin
from stages.scoring.metrics.pickscore import PICKSCORE
from stages.scoring.metrics.pixels import (
    BRIGHTNESS,
    COLOURFULNESS,
    CONTRAST,
    SHARPNESS,
    hash_pixels,
)
from stages.scoring.metrics.pretrained import Pretrained, load_metric
from stages.scoring.metrics.sets import CMMD, DIVERSITY, KID
from stages.scoring.metrics.training import (
    NEAREST_TRAINING_COSINE,
    TRAINING_SIMILARITY,
    name_nearest,
)
from stages.scoring.metrics.vqa_score import VQA_SCORE

METRICS: tuple[Metric, ...] = (
    CLIP_COSINE,
    ZERO_SHOT_ACCURACY,
    RETRIEVAL_RANK,
    TRAINING_SIMILARITY,
    NEAREST_TRAINING_COSINE,
    SHARPNESS,
    COLOURFULNESS,
    BRIGHTNESS,
    CONTRAST,
)
SET_METRICS: tuple[Description, ...] = (KID, CMMD, DIVERSITY)
EXTRA_METRICS: Mapping[str, Pretrained] = {
    metric.name: metric
    for metric in (LAION_AESTHETIC, MUSIQ, PICKSCORE, HPSV2, IMAGE_REWARD, VQA_SCORE)
}
COMPANIONS: dict[str, Compute] = {
    "predicted_class": name_classes,
    "nearest_training_id": name_nearest,
    "pixel_digest": hash_pixels,
}
"""What is known of a picture and is no number to compare."""


def load_extra_metrics(names: Sequence[str], device: torch.device) -> list[Metric]:
    """Load the models of `score.extra_metrics`, all of them before anything is scored."""
    return [load_metric(EXTRA_METRICS[name], device) for name in names]


def describe_metrics(metrics: Sequence[Metric], scorer: Origin) -> dict[str, Facts]:
    """The facts of the metrics of a picture, and of those of several, by name."""
    return {metric.name: metric.describe(scorer) for metric in (*metrics, *SET_METRICS)}
