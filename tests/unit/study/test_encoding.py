import io

import numpy as np
import pytest
from PIL import Image

from stages.config.mistakes import UserError
from stages.study.encoding import Encoded, encode_alike


def make_images(side_px: int) -> list[Image.Image]:
    """A plain picture, a gradient and noise: as different as pictures can be to an encoder."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, side_px).astype(np.uint8)
    arrays = (
        np.full((side_px, side_px, 3), 7, np.uint8),
        np.broadcast_to(ramp[:, None, None], (side_px, side_px, 3)),
        rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8),
    )
    return [Image.fromarray(np.ascontiguousarray(array)) for array in arrays]


def test_pictures_that_fit_keep_every_pixel_in_files_of_one_length():
    images = make_images(64)
    encoded = encode_alike(images, 20_000)
    assert isinstance(encoded, Encoded)
    assert encoded.mime == "image/png"
    assert len({len(data) for data in encoded.files}) == 1
    for data, image in zip(encoded.files, images, strict=True):
        assert (np.array(Image.open(io.BytesIO(data))) == np.array(image)).all()


def test_larger_ones_are_filled_up_to_one_length_and_can_still_be_decoded():
    images = make_images(256)
    encoded = encode_alike(images, 90_000)
    assert isinstance(encoded, Encoded)
    assert encoded.mime == "image/webp"
    assert len({len(data) for data in encoded.files}) == 1
    for data, image in zip(encoded.files[:2], images, strict=False):
        decoded = np.array(Image.open(io.BytesIO(data)).convert("RGB"), float)
        assert np.abs(decoded - np.array(image)).mean() < 3


def test_metadata_does_not_come_along():
    image = make_images(16)[1]
    image.info["comment"] = image.info["Software"] = "baseline"
    encoded = encode_alike([image], 10_000)
    assert isinstance(encoded, Encoded)
    assert b"baseline" not in encoded.files[0]
    assert Image.open(io.BytesIO(encoded.files[0])).info == {}


def test_what_does_not_fit_says_how_long_it_is():
    longest = encode_alike(make_images(128), 1000)
    assert isinstance(longest, int)
    assert longest > 1000


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(UserError, match="the pictures are of 8 x 8, 16 x 16 px"):
        encode_alike([*make_images(8), *make_images(16)], 10_000)
