"""Every picture of the page, once, as a data URI: the page shows it wherever it is named.

All are WebP. Small pictures that fit keep every pixel; otherwise all are reduced alike, so that the
page stays under 15 MB.
"""

import base64
import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from PIL import Image

from stages.files.images import decode_image

BUDGET_BYTES = 7_000_000
"""Of all pictures together; base64 makes 9.3 MB of it, and the chart library is 4.8 MB."""
LOSSLESS_UP_TO_PX = 128
LARGEST_PX = 192
QUALITY, BYTES_PER_PX = 70, 0.25
"""Of WebP, 0 to 100, and what it makes of photographs and of noise at the most."""
WEBP_METHOD = 2  # 0 to 6, fast to small
NUM_THREADS = 4  # Pillow lets other threads run while it encodes


def embed_pictures(files: Mapping[str, bytes], budget_bytes: int = BUDGET_BYTES) -> dict[str, str]:
    """Data URIs of picture files, by name."""
    fits = sum(map(len, files.values())) <= budget_bytes
    is_lossless = fits and all(map(_is_small, files.values()))
    side_px = int(math.sqrt(budget_bytes / max(1, len(files)) / BYTES_PER_PX))
    side_px = LOSSLESS_UP_TO_PX if is_lossless else max(1, min(side_px, LARGEST_PX))
    write = partial(_write_uri, side_px=side_px, is_lossless=is_lossless)
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return dict(zip(files, threads.map(write, files.values(), files), strict=True))


def _is_small(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return max(image.size) <= LOSSLESS_UP_TO_PX


def _write_uri(data: bytes, name: str, side_px: int, is_lossless: bool) -> str:
    image = decode_image(data, name)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=is_lossless, quality=QUALITY, method=WEBP_METHOD)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
