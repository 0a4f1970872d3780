import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stages.scoring.metrics.metric import Batch
from stages.scoring.metrics.pixels import (
    hash_pixels,
    measure_brightness,
    measure_colourfulness,
    measure_contrast,
    measure_sharpness,
)


def paint(*colours, side=8):
    """Vertical stripes of equal width, colours in [0, 255]."""
    stripes = np.repeat(np.array(colours, np.float64), side // len(colours), axis=0)
    return np.broadcast_to(stripes, (side, side, 3)) / 255


def test_brightness_of_black_grey_and_white():
    values = [measure_brightness(paint((v, v, v))) for v in (0, 51, 255)]
    assert values == pytest.approx([0.0, 0.2, 1.0])


def test_a_picture_of_one_colour_has_no_contrast():
    assert measure_contrast(paint((255, 0, 0))) == 0.0


def test_half_black_half_white_has_contrast_one_half():
    assert measure_contrast(paint((0, 0, 0), (255, 255, 255))) == pytest.approx(0.5)


def test_a_flat_picture_and_a_linear_ramp_have_no_sharpness():
    assert measure_sharpness(paint((90, 20, 200))) == pytest.approx(0, abs=1e-30)
    ramp = np.linspace(0, 1, 8)[:, None, None] * np.ones((8, 8, 3))
    assert measure_sharpness(ramp) == pytest.approx(0, abs=1e-30)


def test_sharpness_of_a_single_white_pixel_by_hand():
    pixels = np.zeros((7, 7, 3))
    pixels[3, 3] = 1
    # Of 25 inner pixels one has -4, its four neighbours 1, the others 0: mean 0, squares 16 + 4.
    assert measure_sharpness(pixels) == pytest.approx(20 / 25)


def test_sharpness_weighs_the_channels_as_luma_does():
    pixels = np.zeros((7, 7, 3))
    pixels[3, 3, 1] = 1
    assert measure_sharpness(pixels) == pytest.approx(20 / 25 * 0.587**2)


def test_grey_has_no_colourfulness():
    assert measure_colourfulness(paint((0, 0, 0), (255, 255, 255))) == pytest.approx(0)


def test_colourfulness_of_pure_red_by_hand():
    # One colour, no spread: rg = 255, yb = 127.5; 0.3 * hypot.
    assert measure_colourfulness(paint((255, 0, 0))) == pytest.approx(0.3 * np.hypot(255, 127.5))


def test_colourfulness_of_half_red_half_blue_by_hand():
    # rg is 255 and 0, yb is 127.5 and -255: deviations 127.5 and 191.25, means 127.5 and -63.75.
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)
    assert measure_colourfulness(paint((255, 0, 0), (0, 0, 255))) == pytest.approx(expected)


def test_only_pictures_of_equal_pixels_and_size_have_the_same_digest():
    images = [
        Image.new("RGB", (4, 2), "red"),
        Image.new("RGB", (4, 2), "red"),
        Image.new("RGB", (2, 4), "red"),
        Image.new("RGB", (4, 2), (254, 0, 0)),
    ]
    batch = Batch(pd.DataFrame(index=range(4)), images, torch.empty(0), torch.empty(0))
    first, second, *others = hash_pixels(batch, None)
    assert first == second
    assert len({first, *others}) == 3
