import numpy as np

from stages.drawing.teapot import TEAPOT, draw_teapot_picture
from stages.drawing.things import THINGS


def test_picture_is_a_pure_function_of_the_seed():
    first, again, other = (draw_teapot_picture(seed).tobytes() for seed in (7, 7, 8))
    assert first == again != other


def test_no_shipped_model_has_seen_it():
    assert TEAPOT.name not in THINGS


def test_it_is_purple_with_yellow_wherever_it_stands():
    for seed in range(20):
        pixels = np.asarray(draw_teapot_picture(seed), dtype=int)
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        is_purple = (blue > green + 60) & (red > green + 30)
        is_yellow = (red > 200) & (green > 170) & (blue < 90)
        assert is_purple.mean() > 0.1, seed
        assert 0.003 < is_yellow.mean() < 0.1, seed
