"""Every picture of the page, once, as a data URI: the page shows it wherever it is named.

Small pictures keep every pixel. Where all of them would not fit, they are reduced alike, so that
the page stays under 15 MB.
"""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from PIL import Image

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


def embed_pictures(
    images: Mapping[str, Image.Image], budget_bytes: int = BUDGET_BYTES
) -> dict[str, str]:
    """Data URIs of pictures by name: PNG if all are small and fit, otherwise reduced WebP."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        if all(max(image.size) <= LOSSLESS_UP_TO_PX for image in images.values()):
            files = list(threads.map(_encode_png, images.values()))
            if sum(map(len, files)) <= budget_bytes:
                return dict(zip(images, map(_write_uri, files, ["png"] * len(files)), strict=True))
        encoding = choose_encoding(list(images.values()), budget_bytes)
        files = list(threads.map(lambda image: encode_webp(image, encoding), images.values()))
    return dict(zip(images, map(_write_uri, files, ["webp"] * len(files)), strict=True))


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
    return _save(reduced, format="WEBP", quality=encoding.quality, method=WEBP_METHOD)


def _encode_png(image: Image.Image) -> bytes:
    return _save(image, format="PNG")


def _save(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def _write_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
