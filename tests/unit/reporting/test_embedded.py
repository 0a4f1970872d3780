import base64
import io

import numpy as np
from PIL import Image

from stages.files.images import encode_png
from stages.reporting.embedded import LARGEST_PX, embed_pictures


def decode(uri: str) -> Image.Image:
    assert uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def draw_noise(side_px: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_small_pictures_that_fit_keep_every_pixel():
    image = draw_noise(64)
    assert decode(embed_pictures({"a": encode_png(image)})["a"]).tobytes() == image.tobytes()


def test_large_pictures_are_reduced():
    image = Image.new("RGB", (512, 256), "blue")
    size = decode(embed_pictures({"a": encode_png(image)})["a"]).size
    assert size == (LARGEST_PX, LARGEST_PX // 2)


def test_pictures_of_another_format_are_shown_alike():
    buffer = io.BytesIO()
    draw_noise(8).save(buffer, format="BMP")
    assert (
        decode(embed_pictures({"a": buffer.getvalue()})["a"]).tobytes() == draw_noise(8).tobytes()
    )


def test_where_not_all_fit_all_are_reduced_alike():
    large = Image.effect_noise((512, 512), 80).convert("RGB")
    files = {str(number): encode_png(large) for number in range(12)}
    files |= {"small": encode_png(draw_noise(64))}
    budget = 13 * 1500
    uris = embed_pictures(files, budget)
    assert len({decode(uri).size for name, uri in uris.items() if name != "small"}) == 1
    assert decode(uris["small"]).tobytes() != draw_noise(64).tobytes()
    assert sum(len(base64.b64decode(uri.partition(",")[2])) for uri in uris.values()) <= budget


def test_a_smaller_budget_never_means_larger_pictures():
    data = encode_png(draw_noise(300))
    budgets = (10**9, 4_000, 1_000, 1)
    sides = [decode(embed_pictures({"a": data}, budget)["a"]).width for budget in budgets]
    assert sides == sorted(sides, reverse=True)
    assert (sides[0], sides[-1]) == (LARGEST_PX, 2)


def test_names_keep_their_order_and_their_pictures():
    files = {name: encode_png(Image.new("RGB", (8, 8), name)) for name in ("red", "blue")}
    pixels = {name: decode(uri).getpixel((0, 0)) for name, uri in embed_pictures(files).items()}
    assert pixels == {"red": (255, 0, 0), "blue": (0, 0, 255)}
