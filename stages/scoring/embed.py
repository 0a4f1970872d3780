"""Pictures and texts to unit-norm CLIP embeds, in float32."""

import logging
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from stages.scoring.scorer import Scorer

logger = logging.getLogger(__name__)

MAX_TEXTS = 1024
"""At once: of tens of thousands the activations would take gigabytes."""


@torch.inference_mode()
def embed_images(scorer: Scorer, images: Sequence[Image.Image]) -> Tensor:
    """Unit-norm embeds (B, E) of one batch of pictures, on the CPU."""
    pixel_values = torch.stack([scorer.preprocess(image) for image in images])  # (B, 3, H, W)
    features = scorer.model.encode_image(pixel_values.to(scorer.device))
    return F.normalize(features.float(), dim=-1).cpu()


@torch.inference_mode()
def embed_texts(scorer: Scorer, texts: Sequence[str]) -> Tensor:
    """Unit-norm embeds (P, E) of texts, on the CPU; texts that are cut are counted in the log."""
    if cut := find_cut_texts(scorer, texts):
        counts = (len(cut), len(texts), cut[0])
        logger.warning("the scorer reads only the beginning of %d of %d texts: %.60s…", *counts)
    embeds = []
    for first in range(0, len(texts), MAX_TEXTS):
        tokens = scorer.tokenizer(list(texts[first : first + MAX_TEXTS]))
        features = scorer.model.encode_text(tokens.to(scorer.device))
        embeds.append(F.normalize(features.float(), dim=-1).cpu())
    return torch.cat(embeds)


def find_cut_texts(scorer: Scorer, texts: Sequence[str]) -> list[str]:
    """The texts that are longer than the scorer's context."""
    whole = scorer.tokenizer(list(texts))  # (P, L)
    length = whole.shape[1]
    roomy = scorer.tokenizer(list(texts), context_length=2 * length)
    is_cut = (roomy[:, :length] != whole).any(dim=1)  # a cut text ends in the end token too early
    return [text for text, cut in zip(texts, is_cut, strict=True) if cut]
