"""How well a picture fits its prompt and its class, in the scorer's space. Raw cosines."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.scoring.metrics.metric import Batch, Context, Metric

COSINE_TOLERANCE = 1e-6  # float32: embeds of the same text in another batch differ by less


def compute_clip_cosine(image_embeds: Tensor, text_embeds: Tensor) -> Tensor:
    """Cosine of each picture and its own text, both (N, E) -> (N,) in [-1, 1], never scaled."""
    image_embeds = F.normalize(image_embeds.float(), dim=-1)
    text_embeds = F.normalize(text_embeds.float(), dim=-1)
    return (image_embeds * text_embeds).sum(dim=-1)


def predict_classes(image_embeds: Tensor, class_embeds: Tensor) -> Tensor:
    """Zero-shot: the nearest class of each picture, (N, E) and (C, E) -> (N,) int64 in [0, C)."""
    image_embeds = F.normalize(image_embeds.float(), dim=-1)
    class_embeds = F.normalize(class_embeds.float(), dim=-1)
    return (image_embeds @ class_embeds.T).argmax(dim=-1)


def rank_own_text(image_embeds: Tensor, text_embeds: Tensor, all_embeds: Tensor) -> Tensor:
    """Place of each picture's own text among all texts: (N,) int64 in [1, P], 1 is the nearest.

    Args:
        image_embeds: Unit-norm, (N, E).
        text_embeds: Of each picture's own text: unit-norm, (N, E).
        all_embeds: Of the P distinct texts, the own ones among them: unit-norm, (P, E). A text as
            near as the own one does not push it back.
    """
    own = (image_embeds * text_embeds).sum(dim=-1, keepdim=True)  # (N, 1)
    return 1 + (image_embeds @ all_embeds.T > own + COSINE_TOLERANCE).sum(dim=-1)


def name_classes(batch: Batch, context: Context) -> list[str]:
    """The class that each picture is taken for."""
    predicted = predict_classes(batch.image_embeds, context.class_embeds)
    return [context.classes[index] for index in predicted]


def _cosines(batch: Batch, _: Context) -> list[float]:
    return compute_clip_cosine(batch.image_embeds, batch.text_embeds).tolist()


def _are_correct(batch: Batch, context: Context) -> list[bool]:
    named = name_classes(batch, context)
    return [name == own for name, own in zip(named, batch.samples["class"], strict=True)]


def _ranks(batch: Batch, context: Context) -> list[int]:
    ranks = torch.zeros(len(batch.samples), dtype=torch.int64)
    for name, all_embeds in context.prompt_embeds.items():
        rows = torch.tensor((batch.samples["set"] == name).to_numpy())
        ranks[rows] = rank_own_text(batch.image_embeds[rows], batch.text_embeds[rows], all_embeds)
    return ranks.tolist()


CLIP_COSINE = Metric(
    name="clip_cosine",
    label="CLIP cosine",
    direction="higher",
    scale="cosine of picture and own prompt, -1 to 1, not scaled",
    source="Radford et al. 2021; CLIPScore (Hessel et al. 2021) without its factor and its clamp",
    compute=_cosines,
)
ZERO_SHOT_ACCURACY = Metric(
    name="zero_shot_accuracy",
    label="Zero-shot accuracy",
    direction="higher",
    scale="fraction of pictures taken for their own class, 0 to 1",
    source="Radford et al. 2021, section 3.1",
    compute=_are_correct,
    column="is_correct",
)
RETRIEVAL_RANK = Metric(
    name="retrieval_rank",
    label="Retrieval rank",
    direction="lower",
    scale="place of the own prompt among the distinct prompts of its set, 1 is the nearest",
    source="text retrieval as in Radford et al. 2021, one rank a picture",
    compute=_ranks,
)
METRICS = (CLIP_COSINE, ZERO_SHOT_ACCURACY, RETRIEVAL_RANK)
