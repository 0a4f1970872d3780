"""DINO's similarity to the subject: its features tell two frogs apart, where CLIP's say "frog".

DreamBooth (Ruiz et al. 2023, section 4) prefers it to CLIP-I for that.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.pretrained import Pretrained, Score

WEIGHTS = "timm/vit_small_patch16_224.dino"

Embed = Callable[[Sequence[Image.Image]], Tensor]
"""B pictures -> unit-norm (B, D), on the CPU."""


def load_embedder(device: torch.device) -> Embed:
    """Load the model through timm, which open_clip brings along."""
    import timm  # noqa: PLC0415 (only this metric needs it)

    model = timm.create_model(f"hf-hub:{WEIGHTS}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    return partial(embed, model.eval().to(device), transform, device)


@torch.inference_mode()
def embed(
    model: Any, transform: Any, device: torch.device, images: Sequence[Image.Image]
) -> Tensor:
    """What the class token has become in the last layer, unit-norm (B, D)."""
    pixels = torch.stack([transform(image.convert("RGB")) for image in images])
    return F.normalize(model(pixels.to(device)), dim=-1).cpu()


def measure(embed_images: Embed, images: Sequence[Image.Image], others: Tensor) -> list[float]:
    """Mean cosine of each of B pictures to R others, unit-norm (R, D)."""
    return (embed_images(images).double() @ others.double().T).mean(dim=1).tolist()


def load(device: torch.device) -> Score:
    """Load the model; it compares with the pictures of the subject."""
    return partial(measure, load_embedder(device))


DINO = Pretrained(
    name="dino",
    label="Similarity to the subject (DINO)",
    direction="higher",
    exceptions={"in_domain": "neither", "marketing": "neither"},  # there it says what spread
    scale="mean cosine to the held-out pictures of the subject, -1 to 1",
    source="DreamBooth's DINO metric (Ruiz et al. 2023, section 4)",
    origin=Origin(
        "DINO ViT-S/16",
        WEIGHTS,
        "timm's: shortest side to 248 px, bicubic, middle square of 224 px",
    ),
    size="87 MB",
    files=((WEIGHTS, "config.json"),),
    load=load,
    beside=lambda _, context: context.dino_embeds,
)
