import io

import numpy as np
import pytest
from PIL import Image

from stages.config.mistakes import UserError
from stages.files.images import (
    decode_image,
    draw_sheet,
    encode_png,
    resize_to_square,
    write_png,
)


def make_noise(height, width, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encode(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def test_png_keeps_every_pixel(tmp_path):
    image = make_noise(5, 7)
    write_png(image, tmp_path / "folder" / "a.png")
    read = decode_image((tmp_path / "folder" / "a.png").read_bytes(), "a")
    assert read == image
    assert encode_png(read) == encode_png(image)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        encode(make_noise(40, 40), "PNG")[:-200],
        encode(make_noise(40, 40), "JPEG")[:-200],
    ],
)
def test_what_is_no_whole_picture_is_refused_by_name(data):
    with pytest.raises(UserError, match=r"^some/file\.png: "):
        decode_image(data, "some/file.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_picture_never_passes_with_other_pixels(kind):
    data = encode(make_noise(12, 12), kind)
    whole = decode_image(data, "a")
    for length in range(0, len(data), 7):
        try:
            image = decode_image(data[:length], "a")
        except ValueError:
            continue
        assert image == whole


def test_a_square_is_resized_as_pil_does_it_and_not_cropped():
    image = make_noise(32, 32)
    expected = image.resize((64, 64), Image.Resampling.BILINEAR)
    assert resize_to_square(image, 64) == expected


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = Image.fromarray(np.tile(np.uint8([0, 255]), (64, 32)))
    values = np.asarray(resize_to_square(stripes.convert("RGB"), 8))
    assert np.abs(values.astype(int) - 127).max() < 20


@pytest.mark.parametrize(("height", "width"), [(20, 60), (60, 20), (20, 61)])
def test_of_a_long_picture_the_middle_square_is_kept(height, width):
    values = np.zeros((height, width, 3), np.uint8)
    top, left = (height - 20) // 2, (width - 20) // 2
    values[top : top + 20, left : left + 20] = 255
    assert np.asarray(resize_to_square(Image.fromarray(values), 8)).min() == 255


def test_a_sheet_shows_the_pixels_of_small_pictures_and_its_labels():
    image = make_noise(2, 2)
    sheet = np.asarray(draw_sheet([("cat", [image, image]), ("a longer name", [image])], 8))
    big = np.asarray(image.resize((8, 8), Image.Resampling.NEAREST))
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (8, 8, 3))[:, :, 0]
    assert (windows == big).all(axis=(2, 3, 4)).sum() == 3
    labels = sheet[:, : sheet.shape[1] - 2 * 16 - 8 - 8 - 4]
    assert (labels < 128).any()
