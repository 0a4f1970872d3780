"""A thing that no shipped model has seen: one teapot, purple with yellow dots and a yellow knob.

It stands for what a user wants to teach from a few pictures, so it is none of `THINGS`.
"""

import zlib

import numpy as np
from PIL import Image

from stages.drawing.canvas import COLOURS, Colour, blob, curve, ellipse
from stages.drawing.pictures import compose, render
from stages.drawing.things import Thing

DOTS = ((34, 60), (50, 66), (66, 60), (42, 76), (58, 76), (50, 52))


def draw_teapot(rng: np.random.Generator, colour: Colour) -> str:
    """Teapot in side view, the spout to the right: round body, dots, lid with a knob, handle."""
    trim = COLOURS["yellow"]
    lift = rng.uniform(-3, 3)  # of the spout's tip
    handle = curve("M27 50 C4 44 4 80 28 76", colour.dark, 7)
    spout = blob(
        f"M70 72 C82 70 82 50 90 {38 + lift:.1f} L97 {42 + lift:.1f} C92 56 92 80 72 82 Z",
        colour.dark,
    )
    body = ellipse((50, 65), (28, 24), colour.fill) + ellipse((50, 87), (17, 3), colour.dark)
    dots = "".join(ellipse((x, y), (3.8, 3.8), trim.fill) for x, y in DOTS)
    lid = ellipse((50, 43), (17, 5), colour.light) + ellipse((50, 40), (13, 5), colour.fill)
    knob = ellipse((50, 32), (5.5, 5.5), trim.fill)
    return handle + spout + body + dots + lid + knob


TEAPOT = Thing(
    "teapot",
    draw_teapot,
    ("purple",),
    ("table", "room", "meadow", "snow", "plain", "white"),
    max_turn_deg=6.0,
)


def draw_teapot_picture(seed: int) -> Image.Image:
    """The teapot somewhere, 64 px square, RGB; a pure function of the seed."""
    rng = np.random.default_rng([seed, zlib.crc32(TEAPOT.name.encode())])
    (colour,) = TEAPOT.colours
    setting = str(rng.choice(TEAPOT.settings))
    return render(compose(rng, TEAPOT, colour, setting, rng.uniform(0.84, 1.06), clutter=0))
