"""All that is measured: `METRICS` of each module. What is named here is known everywhere."""

from collections.abc import Mapping, Sequence

import torch

from stages.files.facts import Facts
from stages.scoring.metrics import (
    clip,
    hpsv2,
    image_reward,
    iqa,
    pickscore,
    pixels,
    sets,
    training,
    vqa_score,
)
from stages.scoring.metrics.metric import Compute, Description, Metric, Origin
from stages.scoring.metrics.pretrained import Pretrained, load_metric

METRICS: tuple[Metric, ...] = (*clip.METRICS, *training.METRICS, *pixels.METRICS)
SET_METRICS: tuple[Description, ...] = sets.METRICS
EXTRA_METRICS: Mapping[str, Pretrained] = {
    metric.name: metric
    for metric in (
        *iqa.METRICS,
        pickscore.PICKSCORE,
        hpsv2.HPSV2,
        image_reward.IMAGE_REWARD,
        vqa_score.VQA_SCORE,
    )
}
COMPANIONS: dict[str, Compute] = {
    "predicted_class": clip.name_classes,
    "nearest_training_id": training.name_nearest,
    "pixel_digest": pixels.hash_pixels,
}
"""What is known of a picture and is no number to compare."""


def load_extra_metrics(names: Sequence[str], device: torch.device) -> list[Metric]:
    """Load the models of `score.extra_metrics`, all of them before anything is scored."""
    return [load_metric(EXTRA_METRICS[name], device) for name in names]


def describe_metrics(metrics: Sequence[Metric], scorer: Origin) -> dict[str, Facts]:
    """The facts of the metrics of a picture, and of those of several, by name."""
    return {metric.name: metric.describe(scorer) for metric in (*metrics, *SET_METRICS)}
