"""Metrics of several pictures; analysis/distances.py has their formulas, under the same names."""

from stages.scoring.metrics.metric import Description

KID = Description(
    name="kid",
    unit="set",
    label="KID",
    direction="lower",
    scale="squared distance to the training pictures, 0 is none; unbiased, so it may be below 0",
    source="Bińkowski et al. 2018: kernel (x·y/E + 1)³, unbiased; in the scorer's space, not "
    "Inception's, so not comparable with published KIDs",
)
CMMD = Description(
    name="cmmd",
    unit="set",
    label="CMMD",
    direction="lower",
    scale="squared distance to the training pictures times 1000, 0 is none",
    source="Jayasumana et al. 2024: Gaussian kernel, sigma 10, biased as in their code; in the "
    "scorer's space, so comparable with published CMMDs only for their CLIP",
)
DIVERSITY = Description(
    name="diversity",
    unit="prompt",
    label="Diversity",
    direction="neither",
    scale="1 - mean cosine between the pictures of a prompt, mean of the prompts, 0 to 2",
    source="mean pairwise distance as in DreamBooth (DIV, Ruiz et al. 2023), in the scorer's space",
)
METRICS = (KID, CMMD, DIVERSITY)
