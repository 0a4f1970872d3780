"""PickScore (Kirstain et al. 2023): CLIP ViT-H/14 trained on people's choices between pictures."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image

from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.pretrained import Pretrained, Score

WEIGHTS = "yuvalkirstain/PickScore_v1"
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def load(device: torch.device) -> Score:
    """Load the model through plain transformers."""
    from transformers import CLIPModel, CLIPProcessor  # noqa: PLC0415 (seconds to import)

    processor = CLIPProcessor.from_pretrained(PROCESSOR)
    model = CLIPModel.from_pretrained(WEIGHTS, use_safetensors=True)
    return partial(score_pairs, model.eval().to(device), processor)


def score_pairs(
    model: Any, processor: Any, images: Sequence[Image.Image], prompts: Sequence[str]
) -> list[float]:
    """exp(logit scale) * cosine of each of B pictures and its own prompt (their eq. 2)."""
    inputs = processor(
        images=list(images),
        text=list(prompts),
        padding=True,
        truncation=True,
        max_length=model.config.text_config.max_position_embeddings,
        return_tensors="pt",
    )
    outputs = model(**inputs.to(model.device))  # its embeds have unit norm
    cosines = (outputs.image_embeds * outputs.text_embeds).sum(dim=-1)
    return (model.logit_scale.exp() * cosines).tolist()


PICKSCORE = Pretrained(
    name="pickscore",
    label="PickScore",
    direction="higher",
    scale="cosine times exp(logit scale), about 100: usually 15 to 25",
    source="Kirstain et al. 2023, eq. 2",
    origin=Origin(
        "CLIP ViT-H/14",
        WEIGHTS,
        f"{PROCESSOR}: shortest side to 224 px, bicubic, middle square; prompt cut at 77 tokens",
    ),
    size="3.9 GB",
    files=((WEIGHTS, "config.json"), (PROCESSOR, "preprocessor_config.json")),
    load=load,
)
