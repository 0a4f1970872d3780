"""Every picture of the page, once, as a data URI: the page shows it wherever it is named.

Small pictures keep every pixel. Where all of them would not fit, they are reduced alike, so that
the page stays under 15 MB.
"""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image

from stages.files.images import decode_image

LOSSLESS_UP_TO_PX = 128
BUDGET_BYTES = 7_000_000
"""Of all pictures together; base64 makes 9.3 MB of it, and the chart library is 4.8 MB."""
NUM_PROBES = 12
NUM_THREADS = 4  # Pillow lets other threads run while it encodes
WEBP_METHOD = 2  # 0 to 6, fast to small


class Encoding(NamedTuple):
    """How a picture is reduced: its longer side in px, and the quality of WebP, 0 to 100."""

    side_px: int
    quality: int


ENCODINGS = (
    Encoding(192, 90),
    Encoding(192, 80),
    Encoding(160, 80),
    Encoding(128, 80),
    Encoding(128, 65),
    Encoding(96, 65),
    Encoding(64, 60),
)


def embed_pictures(files: Mapping[str, bytes], budget_bytes: int = BUDGET_BYTES) -> dict[str, str]:
    """Data URIs of picture files by name: as they are if all are small PNG files and fit.

    Otherwise all are reduced alike, to WebP.
    """
    if sum(map(len, files.values())) <= budget_bytes and all(map(_is_small, files.values())):
        return {name: _write_uri(data, "png") for name, data in files.items()}
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        images = list(threads.map(decode_image, files.values(), files))
        encoding = choose_encoding(images, budget_bytes)
        reduced = threads.map(lambda image: encode_webp(image, encoding), images)
        return {name: _write_uri(data, "webp") for name, data in zip(files, reduced, strict=True)}


def choose_encoding(images: list[Image.Image], budget_bytes: int) -> Encoding:
    """The best of `ENCODINGS` in which all pictures fit, judged by a few spread over them."""
    probes = images[:: max(1, len(images) // NUM_PROBES)]
    for encoding in ENCODINGS:
        num_bytes = sum(len(encode_webp(image, encoding)) for image in probes)
        if num_bytes / len(probes) * len(images) <= budget_bytes:
            return encoding
    return ENCODINGS[-1]


def encode_webp(image: Image.Image, encoding: Encoding) -> bytes:
    """Reduce a picture, which stays as it was; a smaller one is not enlarged."""
    reduced = image.copy()
    reduced.thumbnail((encoding.side_px, encoding.side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    reduced.save(buffer, format="WEBP", quality=encoding.quality, method=WEBP_METHOD)
    return buffer.getvalue()


def _is_small(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return image.format == "PNG" and max(image.size) <= LOSSLESS_UP_TO_PX


def _write_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
