"""A thing that the tiny base has never seen: a red frog. Those it was trained on come in others.

It stands for what a user wants to teach from a few pictures, so it is none of `THINGS`.
"""

import zlib

import numpy as np
from PIL import Image

from stages.sources.drawing.pictures import compose, render
from stages.sources.drawing.things import THINGS

RED_FROG = THINGS["frog"]._replace(name="red frog", colours=("red",))


def draw_red_frog_picture(seed: int) -> Image.Image:
    """The red frog somewhere, 64 px square, RGB; a pure function of the seed."""
    rng = np.random.default_rng([seed, zlib.crc32(RED_FROG.name.encode())])
    (colour,) = RED_FROG.colours
    setting = str(rng.choice(RED_FROG.settings))
    return render(compose(rng, RED_FROG, colour, setting, rng.uniform(0.84, 1.06), clutter=0))
