import numpy as np

from stages.sources.drawing.red_frog import RED_FROG, draw_red_frog_picture
from stages.sources.drawing.things import THINGS


def test_picture_is_a_pure_function_of_the_seed():
    first, again, other = (draw_red_frog_picture(seed).tobytes() for seed in (7, 7, 8))
    assert first == again != other


def test_the_tiny_base_was_trained_on_no_frog_of_its_colour():
    assert RED_FROG.name not in THINGS
    assert not set(RED_FROG.colours) & set(THINGS["frog"].colours)


def test_it_is_red_wherever_it_stands():
    for seed in range(20):
        pixels = np.asarray(draw_red_frog_picture(seed), dtype=int)
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        is_red = (red > green + 90) & (red > blue + 80)
        assert is_red.mean() > 0.15, seed
