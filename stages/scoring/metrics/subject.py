"""How much a picture resembles the subject that was taught, in the scorer's space."""

from stages.scoring.metrics.metric import Batch, Context, Metric


def measure_similarities(batch: Batch, context: Context) -> list[float]:
    """Mean cosine of each picture to the pictures of the subject that are held out."""
    cosines = batch.image_embeds.double() @ context.subject_embeds.double().T  # (B, R)
    return cosines.mean(dim=1).tolist()


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
