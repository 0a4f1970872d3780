"""Scores of single pictures, from unit-norm embeds and from pixels."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


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


def measure_brightness(image: Image.Image) -> float:
    """Mean of all pixels and channels, in [0, 1]."""
    return float(_read_pixels(image).mean())


def measure_contrast(image: Image.Image) -> float:
    """Standard deviation over the pixels, mean of the channels, in [0, 0.5]; 0 for one colour."""
    return float(_read_pixels(image).std(axis=(0, 1)).mean())


def _read_pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255  # (H, W, 3)
