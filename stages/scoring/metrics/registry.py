"""All that is measured: `METRICS` of each module. What is named here is known everywhere."""

from collections.abc import Collection, Mapping, Sequence

import torch

from stages.files.facts import Facts
from stages.scoring.metrics import (
    clip,
    dino,
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
        dino.DINO,
    )
}
COMPANIONS: dict[str, Compute] = {
    "predicted_class": clip.name_classes,
    "nearest_training_id": training.name_nearest,
    "pixel_digest": pixels.hash_pixels,
}
"""What is known of a picture and is no number to compare."""

OF_CLASSES = {"zero_shot_accuracy", "predicted_class"}
OF_TRAINING = {
    *("training_similarity", "nearest_training_cosine", "nearest_training_id"),
    *("kid", "cmmd"),
}
"""Metrics and companions that compare with the training pictures."""


def list_absent(has_classes: bool, has_training: bool) -> set[str]:
    """What is not measured where pictures have no class, or where nothing was trained on."""
    return (set() if has_classes else OF_CLASSES) | (set() if has_training else OF_TRAINING)


def load_extra_metrics(names: Sequence[str], device: torch.device) -> list[Metric]:
    """Load the models of `score.extra_metrics`, all of them before anything is scored."""
    return [load_metric(EXTRA_METRICS[name], device) for name in names]


def describe_metrics(
    metrics: Sequence[Metric], scorer: Origin, absent: Collection[str] = ()
) -> dict[str, Facts]:
    """The facts of the metrics of a picture, and of those of several but the absent, by name."""
    described = [*metrics, *(metric for metric in SET_METRICS if metric.name not in absent)]
    return {metric.name: metric.describe(scorer) for metric in described}
