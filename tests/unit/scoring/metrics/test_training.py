import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from stages.scoring.metrics.metric import Batch, Context
from stages.scoring.metrics.training import (
    NEAREST_TRAINING_COSINE,
    TRAINING_SIMILARITY,
    average_cosine,
    name_nearest,
)

IMAGES, TRAINING = (
    F.normalize(embeds, dim=-1)
    for embeds in torch.randn(30, 8, generator=torch.Generator().manual_seed(0)).split([3, 27])
)


def compute(metric, samples, training_classes):
    context = Context(
        classes=["cat", "dog", "mug"],
        class_embeds=torch.empty(3, 8),
        text_embeds={},
        prompt_embeds={},
        training_ids=[f"id-{row}" for row in range(27)],
        training_embeds=TRAINING,
        training_classes=torch.tensor(training_classes),
        subject_embeds=torch.empty(0, 8),
    )
    samples = pd.DataFrame(samples, columns=["set", "class"])
    batch = Batch(samples, [], IMAGES, IMAGES)
    return metric(batch, context)


def test_a_class_prompt_is_compared_with_the_pictures_of_its_class_and_others_with_all():
    classes = [0] * 7 + [1] * 15 + [-1] * 5
    samples = [("in_domain", "dog"), ("in_domain", "cat"), ("marketing", "dog")]
    cosines = np.asarray(IMAGES) @ np.asarray(TRAINING).T
    expected = [cosines[0, 7:22].mean(), cosines[1, :7].mean(), cosines[2].mean()]
    similarities = compute(TRAINING_SIMILARITY.compute, samples, classes)
    assert similarities == pytest.approx(expected, abs=1e-6)


def test_a_class_without_training_pictures_is_compared_with_all():
    samples = [("in_domain", "dog"), ("in_domain", "lion"), ("in_domain", "mug")]
    similarities = compute(TRAINING_SIMILARITY.compute, samples, [-1] * 27)
    expected = (np.asarray(IMAGES) @ np.asarray(TRAINING).T).mean(axis=1)
    assert similarities == pytest.approx(expected, abs=1e-6)


def test_the_nearest_training_picture_is_found_with_its_cosine():
    samples = [("in_domain", "cat")] * 3
    cosines = np.asarray(IMAGES) @ np.asarray(TRAINING).T
    expected = [f"id-{row}" for row in cosines.argmax(axis=1)]
    assert compute(name_nearest, samples, [0] * 27) == expected
    nearest = compute(NEAREST_TRAINING_COSINE.compute, samples, [0] * 27)
    assert nearest == pytest.approx(cosines.max(axis=1), abs=1e-6)


def test_a_copy_of_a_training_picture_has_a_nearest_cosine_of_one():
    everything = torch.zeros(2, 27, dtype=torch.bool)
    assert average_cosine(TRAINING[4:6], TRAINING, everything).max() < 1
    everything[0, 4] = everything[1, 5] = True
    own = average_cosine(TRAINING[4:6], TRAINING, everything)
    assert own.tolist() == pytest.approx([1, 1], abs=1e-6)
