"""Pictures of which none can be told from another but by looking: as many bytes, nothing beside.

Those that fit are PNG files without compression, as long as their pixels are many. Otherwise all
are WebP of one quality, filled up to the longest.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from stages.config.mistakes import UserError

QUALITIES = (95, 90, 80, 70, 60, 50)
"""Of WebP, 0 to 100, best first: the first that fits is taken."""


class Encoded(NamedTuple):
    """Files of the same length, and what they are."""

    files: Sequence[bytes]
    mime: str


def encode_alike(images: Sequence[Image.Image], bytes_per_picture: float) -> Encoded | int:
    """Encode pictures so that all have one length, within the limit; else how long they would be.

    Raises:
        UserError: They are not of one size in pixels.
    """
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise UserError(f"the pictures are of {shown} px; a study needs them of one size")
    stored = [_write(image, "PNG", compress_level=0) for image in images]
    if max(map(len, stored)) <= bytes_per_picture:
        return Encoded(_fill(stored), "image/png")
    longest = 0
    for quality in QUALITIES:
        files = [_write(image, "WEBP", quality=quality) for image in images]
        longest = max(map(len, files))
        if longest <= bytes_per_picture:
            return Encoded(_fill(files), "image/webp")
    return longest


def _write(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image.convert("RGB"))).save(buffer, kind, **options)  # no metadata
    return buffer.getvalue()


def _fill(files: Sequence[bytes]) -> list[bytes]:
    """Each as long as the longest; no decoder reads what stands behind a picture."""
    longest, rng = max(map(len, files)), np.random.default_rng(0)
    return [data + rng.bytes(longest - len(data)) for data in files]
