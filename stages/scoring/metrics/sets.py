"""What is said of the metrics of a whole set; their formulas are in analysis/distances.py."""

from stages.scoring.metrics.metric import Description

KID = Description(
    name="kid",
    label="KID",
    better="lower",
    scale="squared distance to the training pictures, 0 is none; unbiased, so it may be below 0",
    source="Bińkowski et al. 2018: kernel (x·y/E + 1)³, unbiased; in the scorer's space, not "
    "Inception's, so not comparable with published KIDs",
)
CMMD = Description(
    name="cmmd",
    label="CMMD",
    better="lower",
    scale="squared distance to the training pictures times 1000, 0 is none",
    source="Jayasumana et al. 2024: Gaussian kernel, sigma 10, biased as in their code; in the "
    "scorer's space, so comparable with published CMMDs only for their CLIP",
)
DIVERSITY = Description(
    name="diversity",
    label="Diversity",
    better="neither",
    scale="1 - mean cosine between the pictures of a prompt, mean of the prompts, 0 to 2",
    source="mean pairwise distance as in DreamBooth (DIV, Ruiz et al. 2023), in the scorer's space",
)
