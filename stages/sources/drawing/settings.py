"""Settings: what lies behind and under a drawn thing, each a function of a random generator.

A setting fills the whole box of 100 x 100 units, and beyond it by `BLEED` on every side, so that a
thing may be moved or turned on it.
"""

from collections.abc import Callable

import numpy as np

from stages.sources.drawing.canvas import ellipse, group, line, polygon, rectangle

BLEED = 4.0
PLAIN_TINTS = ("#e9e4d6", "#dfe6ea", "#e6dfe8", "#dce8dc", "#efe0d2", "#d9dde3")


def draw_sky(rng: np.random.Generator) -> str:
    """Blue sky, lighter towards the bottom, with one to three clouds."""
    top, bottom = ("#5aa7e8", "#bfe2fa") if rng.random() < 0.6 else ("#3f86d4", "#9fd0f5")
    clouds = "".join(
        _draw_cloud(rng.uniform(5, 95), rng.uniform(8, 92), rng.uniform(0.6, 1.1))
        for _ in range(rng.integers(1, 4))
    )
    return _fill_gradient("sky", top, bottom) + clouds


def draw_sunset(rng: np.random.Generator) -> str:
    """Evening sky from purple to orange, with a low sun over dark ground."""
    x = rng.uniform(15, 85)
    return (
        _fill_gradient("sunset", "#6d4a94", "#f8a45a")
        + ellipse((x, 60), (11, 11), "#ffe08a")
        + _draw_ground(76, "#5a4038")
    )


def draw_meadow(rng: np.random.Generator) -> str:
    """Green meadow under a blue sky, with a row of bushes on the horizon."""
    horizon = rng.uniform(54, 64)
    bushes = "".join(
        ellipse((x, horizon), (rng.uniform(9, 15), rng.uniform(6, 11)), "#3f7f3c")
        for x in rng.uniform(0, 100, size=rng.integers(1, 4))
    )
    return (
        _fill_gradient("meadow", "#79bdf0", "#d3ecfb")
        + bushes
        + _draw_ground(horizon, "#7cbb4e")
        + _draw_ground(horizon + 22, "#6aa83f")
    )


def draw_road(rng: np.random.Generator) -> str:
    """Asphalt road with a dashed line, houses behind it."""
    houses = "".join(
        rectangle((x, 62 - height), (width, height), tint)
        for x, width, height, tint in zip(
            (-4, 24, 52, 80),
            rng.uniform(18, 28, size=4),
            rng.uniform(10, 34, size=4),
            rng.permutation(["#c9b8a6", "#b3bac4", "#d6c7b8", "#a9a39d"]),
            strict=True,
        )
    )
    start = rng.uniform(0, 20)
    dashes = "".join(rectangle((x + start, 89), (12, 3.5), "#f3efdf") for x in (-24, 0, 24, 48, 72))
    return (
        _fill_gradient("road", "#a9d3f2", "#e3f1fa") + houses + _draw_ground(62, "#6d7178") + dashes
    )


def draw_snow(rng: np.random.Generator) -> str:
    """Snow under a pale sky, with fir trees."""
    trees = "".join(
        polygon([(x - 9, 62), (x, 62 - height), (x + 9, 62)], "#4c7a68")
        for x, height in zip(rng.uniform(0, 100, size=3), rng.uniform(18, 32, size=3), strict=True)
    )
    return _fill_gradient("snow", "#a8bdd3", "#dfe8f0") + trees + _draw_ground(60, "#f4f7fb")


def draw_sea(rng: np.random.Generator) -> str:
    """Open sea with a few wave lines under a clear sky."""
    horizon = rng.uniform(56, 64)
    waves = "".join(
        line([(x, y), (x + 12, y)], "#5f9fd6", 3.0)
        for x, y in zip(
            rng.uniform(0, 90, size=4), rng.uniform(horizon + 8, 97, size=4), strict=True
        )
    )
    return _fill_gradient("sea", "#8ccaf3", "#e2f3fc") + _draw_ground(horizon, "#2f74b8") + waves


def draw_pond(rng: np.random.Generator) -> str:
    """Pond with lily pads in front of a green bank."""
    pads = "".join(
        ellipse((x, y), (11, 4), "#4f9a4a")
        for x, y in zip(rng.uniform(4, 96, size=3), rng.uniform(66, 96, size=3), strict=True)
    )
    return _fill_gradient("pond", "#cfe6b0", "#86b25c") + _draw_ground(56, "#4a90a4") + pads


def draw_room(rng: np.random.Generator) -> str:
    """Room with a window on a painted wall and a wooden floor."""
    wall = rng.choice(["#ead9bf", "#d9d3e2", "#cfdcd6", "#e7d2c8"])
    x = rng.uniform(4, 70)
    window = (
        rectangle((x, 8), (26, 30), "#ffffff")
        + rectangle((x + 3, 11), (9, 24), "#9ccdf0")
        + rectangle((x + 14, 11), (9, 24), "#9ccdf0")
    )
    return _draw_ground(-BLEED, wall) + window + _draw_ground(70, "#b98a5c")


def draw_table(rng: np.random.Generator) -> str:
    """Wooden table top in front of a plain wall."""
    wall = rng.choice(["#efe3cc", "#dde4e6", "#e8dcd8"])
    boards = line([(-4, 84), (104, 84)], "#8b5a34", 2.5)
    return _draw_ground(-BLEED, wall) + _draw_ground(66, "#a46f44") + boards


def draw_plain(rng: np.random.Generator) -> str:
    """One pale tint, a little darker towards the bottom."""
    return _draw_ground(-BLEED, rng.choice(PLAIN_TINTS))


def draw_white(rng: np.random.Generator) -> str:
    """White studio background."""
    return _draw_ground(-BLEED, "#fcfcfc")


def _fill_gradient(name: str, top: str, bottom: str) -> str:
    # The lower half is nearly always covered by ground, so the gradient ends at three quarters.
    gradient = (
        f'<linearGradient id="{name}" x1="0" y1="0" x2="0" y2="0.75">'
        f'<stop offset="0" stop-color="{top}"/><stop offset="1" stop-color="{bottom}"/>'
        "</linearGradient>"
    )
    return gradient + _draw_ground(-BLEED, f"url(#{name})")


def _draw_ground(y: float, fill: str) -> str:
    return rectangle((-BLEED, y), (100 + 2 * BLEED, 100 + BLEED - y), fill)


def _draw_cloud(x: float, y: float, scale: float) -> str:
    puffs = ellipse((0, 0), (13, 5), "#ffffff") + ellipse((-3, -4), (7, 6), "#ffffff")
    return group(puffs, f"translate({x:.1f} {y:.1f}) scale({scale:.2f})")


SETTINGS: dict[str, tuple[str, Callable[[np.random.Generator], str]]] = {
    "sky": ("in the sky", draw_sky),
    "sunset": ("at sunset", draw_sunset),
    "meadow": ("in a meadow", draw_meadow),
    "road": ("on a road", draw_road),
    "snow": ("in the snow", draw_snow),
    "sea": ("at sea", draw_sea),
    "pond": ("by a pond", draw_pond),
    "room": ("in a room", draw_room),
    "table": ("on a wooden table", draw_table),
    "plain": ("on a plain background", draw_plain),
    "white": ("on a white background", draw_white),
}
