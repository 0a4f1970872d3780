import base64
import io

from PIL import Image

from stages.charts.embedded import ENCODINGS, choose_encoding, embed_pictures


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def draw_noise(side_px: int) -> Image.Image:
    return Image.effect_noise((side_px, side_px), 80).convert("RGB")


def test_small_pictures_that_fit_keep_every_pixel():
    image = draw_noise(64)
    uri = embed_pictures({"a": image})["a"]
    assert uri.startswith("data:image/png;base64,")
    assert decode(uri).convert("RGB").tobytes() == image.tobytes()


def test_large_pictures_are_reduced_and_left_as_they_were():
    image = Image.new("RGB", (512, 256), "blue")
    assert decode(embed_pictures({"a": image})["a"]).size == (192, 96)
    assert image.size == (512, 256)


def test_pictures_are_reduced_alike_until_all_of_them_fit():
    images = {str(number): draw_noise(64) for number in range(24)}
    budget = 24 * 4500
    uris = embed_pictures(images, budget)
    assert all(uri.startswith("data:image/webp") for uri in uris.values())
    assert sum(len(base64.b64decode(uri.partition(",")[2])) for uri in uris.values()) <= budget


def test_a_smaller_budget_never_means_better_pictures():
    images = [draw_noise(128) for _ in range(4)]
    chosen = [choose_encoding(images, budget) for budget in (10**9, 40_000, 20_000, 1)]
    places = [ENCODINGS.index(encoding) for encoding in chosen]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, len(ENCODINGS) - 1)


def test_names_keep_their_order_and_their_pictures():
    images = {name: Image.new("RGB", (8, 8), name) for name in ("red", "blue")}
    pixels = {
        n: decode(u).convert("RGB").getpixel((0, 0)) for n, u in embed_pictures(images).items()
    }
    assert pixels == {"red": (255, 0, 0), "blue": (0, 0, 255)}
