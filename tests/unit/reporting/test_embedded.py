import base64
import io

from PIL import Image

from stages.files.images import encode_png
from stages.reporting.embedded import ENCODINGS, choose_encoding, embed_pictures, encode_webp


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def draw_noise(side_px: int) -> Image.Image:
    return Image.effect_noise((side_px, side_px), 80).convert("RGB")


def test_small_pictures_that_fit_keep_every_pixel():
    data = encode_png(draw_noise(64))
    uri = embed_pictures({"a": data})["a"]
    assert uri.startswith("data:image/png;base64,")
    assert base64.b64decode(uri.partition(",")[2]) == data


def test_large_pictures_are_reduced_and_left_as_they_were():
    image = Image.new("RGB", (512, 256), "blue")
    assert decode(embed_pictures({"a": encode_png(image)})["a"]).size == (192, 96)
    encode_webp(image, ENCODINGS[-1])
    assert image.size == (512, 256)


def test_another_format_is_never_passed_off_as_png():
    buffer = io.BytesIO()
    draw_noise(8).save(buffer, format="BMP")
    assert decode(embed_pictures({"a": buffer.getvalue()})["a"]).format == "WEBP"


def test_pictures_are_reduced_alike_until_all_of_them_fit():
    files = {str(number): encode_png(draw_noise(64)) for number in range(24)}
    budget = 24 * 4500
    uris = embed_pictures(files, budget)
    assert all(uri.startswith("data:image/webp") for uri in uris.values())
    assert sum(len(base64.b64decode(uri.partition(",")[2])) for uri in uris.values()) <= budget


def test_a_smaller_budget_never_means_better_pictures():
    images = [draw_noise(128) for _ in range(4)]
    chosen = [choose_encoding(images, budget) for budget in (10**9, 40_000, 20_000, 1)]
    places = [ENCODINGS.index(encoding) for encoding in chosen]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, len(ENCODINGS) - 1)


def test_names_keep_their_order_and_their_pictures():
    files = {name: encode_png(Image.new("RGB", (8, 8), name)) for name in ("red", "blue")}
    pixels = {
        n: decode(u).convert("RGB").getpixel((0, 0)) for n, u in embed_pictures(files).items()
    }
    assert pixels == {"red": (255, 0, 0), "blue": (0, 0, 255)}
