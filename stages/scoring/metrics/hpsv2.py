"""HPS v2.1 (Wu et al. 2023): CLIP ViT-H/14 trained on people's rankings of pictures.

The model is open_clip's own ViT-H-14, so the package hpsv2 is not needed (its wheel pins old pytest
and protobuf). Its checkpoint is not safetensors: it is read with `weights_only=True`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.pretrained import Pretrained, Score, load_weights

MODEL = "ViT-H-14"
REPOSITORY, FILE = "xswu/HPSv2", "HPS_v2.1_compressed.pt"
SIDE_PX = 224


def load(device: torch.device) -> Score:
    """Load the model through open_clip."""
    model = open_clip.create_model(MODEL, pretrained=None)
    model.load_state_dict(load_weights(REPOSITORY, FILE)["state_dict"])
    tokenizer = open_clip.get_tokenizer(MODEL)
    return partial(score_pairs, model.eval().to(device), tokenizer, device)


def score_pairs(
    model: Any,
    tokenizer: Any,
    device: torch.device,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
) -> list[float]:
    """Cosine of each of B pictures and its own prompt."""
    pixel_values = torch.stack([preprocess(image) for image in images]).to(device)
    image_embeds = model.encode_image(pixel_values, normalize=True)
    text_embeds = model.encode_text(tokenizer(list(prompts)).to(device), normalize=True)
    return (image_embeds * text_embeds).sum(dim=-1).tolist()


def preprocess(image: Image.Image, side_px: int = SIDE_PX) -> Tensor:
    """(3, S, S) as hpsv2 1.2 does it: longest side to S, bicubic and antialiased, black bars."""
    from torchvision.transforms.v2 import functional as transforms  # noqa: PLC0415

    pixels = transforms.to_dtype(transforms.pil_to_tensor(image.convert("RGB")), scale=True)
    height, width = (
        round(side_px * side / max(image.size)) for side in (image.height, image.width)
    )
    if (height, width) != tuple(pixels.shape[1:]):
        pixels = transforms.resize(
            pixels, [height, width], transforms.InterpolationMode.BICUBIC, antialias=True
        )
    left, top = (side_px - width) // 2, (side_px - height) // 2
    pixels = F.pad(pixels, (left, side_px - width - left, top, side_px - height - top))
    return transforms.normalize(
        pixels, list(open_clip.OPENAI_DATASET_MEAN), list(open_clip.OPENAI_DATASET_STD)
    )


HPSV2 = Pretrained(
    name="hpsv2",
    label="HPS v2.1",
    direction="higher",
    scale="cosine, -1 to 1: usually 0.2 to 0.35",
    source="Wu et al. 2023 (arXiv 2306.09341), weights of version 2.1",
    origin=Origin(
        f"CLIP {MODEL} (open_clip)",
        f"{REPOSITORY}/{FILE}",
        "longest side to 224 px, bicubic, antialiased; prompt cut at 77 tokens",
    ),
    size="2 GB",
    files=((REPOSITORY, FILE),),
    load=load,
)
