"""How near a picture is to the training pictures and to the subject, in the scorer's space."""

import torch
from torch import Tensor

from stages.scoring.metrics.metric import Batch, Context, Metric


def average_cosine(image_embeds: Tensor, training_embeds: Tensor, is_own: Tensor) -> Tensor:
    """Mean cosine of each picture to its own training pictures, (N,) in [-1, 1].

    Args:
        image_embeds: Unit-norm, (N, E).
        training_embeds: Unit-norm, (M, E).
        is_own: (N, M) bool; a picture without any is compared with all.
    """
    is_own = is_own | ~is_own.any(dim=1, keepdim=True)
    cosines = (image_embeds @ training_embeds.T).double()  # (N, M)
    return (cosines * is_own).sum(dim=1) / is_own.sum(dim=1)


def find_nearest(image_embeds: Tensor, training_embeds: Tensor) -> tuple[Tensor, Tensor]:
    """Largest cosine of each picture to a training picture, and which: (N,) and (N,) int64."""
    cosines, rows = (image_embeds @ training_embeds.T).max(dim=1)
    return cosines, rows


def name_nearest(batch: Batch, context: Context) -> list[str]:
    """The id of the training picture that is nearest to each picture."""
    _, rows = find_nearest(batch.image_embeds, context.training_embeds)
    return [context.training_ids[row] for row in rows]


def measure_similarities(batch: Batch, context: Context) -> list[float]:
    """Mean cosine of each picture to the pictures of the subject that are held out."""
    cosines = batch.image_embeds.double() @ context.subject_embeds.double().T  # (B, R)
    return cosines.mean(dim=1).tolist()


def _nearest_cosines(batch: Batch, context: Context) -> list[float]:
    return find_nearest(batch.image_embeds, context.training_embeds)[0].tolist()


def _similarities(batch: Batch, context: Context) -> list[float]:
    """Of in-domain prompts to the pictures of their class, of others to all training pictures."""
    rows = {name: row for row, name in enumerate(context.classes)}
    wanted = torch.tensor(
        [
            rows.get(row["class"], -2) if row["set"] == "in_domain" else -2  # no such picture
            for row in batch.samples.to_dict("records")
        ]
    )
    is_own = wanted[:, None] == context.training_classes[None]
    return average_cosine(batch.image_embeds, context.training_embeds, is_own).tolist()


TRAINING_SIMILARITY = Metric(
    name="training_similarity",
    label="Similarity to the training pictures",
    direction="higher",
    exceptions={"marketing": "neither", "subject": "neither"},  # there it says what has spread
    scale="mean cosine to the training pictures, in domain to those of the class; -1 to 1",
    source="CLIP image similarity as in DreamBooth (CLIP-I, Ruiz et al. 2023, section 4.1)",
    compute=_similarities,
)
NEAREST_TRAINING_COSINE = Metric(
    name="nearest_training_cosine",
    label="Nearest training picture",
    direction="neither",
    scale="largest cosine to a training picture, -1 to 1; near 1 may be a copy of it",
    source="replication search as in Somepalli et al. 2023, with the scorer's embeds",
    compute=_nearest_cosines,
)
SUBJECT_SIMILARITY = Metric(
    name="subject_similarity",
    label="Similarity to the subject",
    direction="higher",
    exceptions={"in_domain": "neither", "marketing": "neither"},  # there it says what spread
    scale="mean cosine to the held-out pictures of the subject, -1 to 1",
    source="DreamBooth's CLIP-I (Ruiz et al. 2023, section 4)",
    compute=measure_similarities,
)
"""Only computed where a subject was taught."""
METRICS = (TRAINING_SIMILARITY, NEAREST_TRAINING_COSINE)
