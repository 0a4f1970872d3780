"""What needs no model: brightness, contrast, sharpness and colourfulness of a picture."""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.scoring.metrics.metric import PIXELS, Batch, Context, Metric

Pixels = NDArray[np.float64]
"""(H, W, 3) in [0, 1]."""

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: weights of red, green and blue


def measure_brightness(pixels: Pixels) -> float:
    """Mean of all pixels and channels, in [0, 1]."""
    return float(pixels.mean())


def measure_contrast(pixels: Pixels) -> float:
    """Standard deviation over the pixels, mean of the channels, in [0, 0.5]; 0 for one colour."""
    return float(pixels.std(axis=(0, 1)).mean())


def measure_sharpness(pixels: Pixels) -> float:
    """Variance of the Laplacian of the luma (Pech-Pacheco et al. 2000, LAP_VAR), 0 or more.

    Stencil (0 1 0; 1 -4 1; 0 1 0) without their factor 1/6, over all pixels but the border's.
    """
    luma = pixels @ np.array(LUMA)  # (H, W)
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    return float(laplacian.var())


def measure_colourfulness(pixels: Pixels) -> float:
    """Hasler and Süsstrunk 2003, eq. 3, of channels in [0, 255]; 0 for grey, 109 extremely."""
    red, green, blue = np.moveaxis(255 * pixels, -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def hash_pixels(batch: Batch, _: Context) -> list[str]:
    """A digest of size and pixels: the same for two pictures that are equal, byte by byte."""
    return [
        hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
        for image in batch.images
    ]


def _describe(measure: Callable[[Pixels], float], label: str, scale: str, source: str) -> Metric:
    """A metric of the pixels alone; none of them says which picture is better."""
    return Metric(
        name=label.lower(),
        label=label,
        direction="neither",
        scale=scale,
        source=source,
        origin=PIXELS,
        compute=lambda batch, _: [measure(pixels) for pixels in batch.pixels],
    )


BRIGHTNESS = _describe(
    measure_brightness, "Brightness", "mean of pixels and channels, 0 to 1", "definition"
)
CONTRAST = _describe(
    measure_contrast,
    "Contrast",
    "standard deviation over the pixels, mean of the channels, 0 to 0.5",
    "definition",
)
SHARPNESS = _describe(
    measure_sharpness,
    "Sharpness",
    "variance of the Laplacian of the BT.601 luma in 0 to 1; 0 or more, noise is sharp too",
    "Pech-Pacheco et al. 2000 (LAP_VAR), without the factor 1/6 of its mask",
)
COLOURFULNESS = _describe(
    measure_colourfulness,
    "Colourfulness",
    "of channels in 0 to 255: 0 is grey, 33 moderately, 109 extremely colourful",
    "Hasler and Süsstrunk 2003, eq. 3",
)
METRICS = (SHARPNESS, COLOURFULNESS, BRIGHTNESS, CONTRAST)
