"""What the CLIP model that led the pictures says of them: beside the judge, never in its place."""

from stages.scoring.metrics.metric import Batch, Context, Metric, Origin


def _read_cosines(batch: Batch, _: Context) -> list[float]:
    return batch.samples["guide_cosine"].tolist()


GUIDE_COSINE = Metric(
    name="guide_cosine",
    label="Cosine by the guide",
    direction="neither",  # what led the pictures is no judge of them
    scale="cosine of picture and own prompt, -1 to 1, by the CLIP that led the sampling to it",
    source="Radford et al. 2021; guidance as in Nichol et al. 2022, section 2.3",
    origin=Origin("bases.*.guide", "bases.*.guide_pretrained", "as its own, of floats"),
    compute=_read_cosines,
)
"""Only known where a guide led; `sample` measured it."""
