"""The sixteen things that can be drawn: the ten CIFAR-10 classes and six products.

Each has a drawing, the colours that it comes in and the settings where it is found.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stages.sources.drawing.canvas import Colour
from stages.sources.drawing.products import (
    draw_backpack,
    draw_bar_chart,
    draw_coffee_mug,
    draw_cookies,
    draw_running_shoe,
)
from stages.sources.drawing.quadrupeds import draw_cat, draw_deer, draw_dog, draw_horse
from stages.sources.drawing.small_animals import draw_bird, draw_frog
from stages.sources.drawing.vehicles import (
    draw_airplane,
    draw_automobile,
    draw_delivery_truck,
    draw_ship,
    draw_truck,
)


class Thing(NamedTuple):
    """What can be drawn: `colours` and `settings` are names, `max_turn_deg` the largest tilt."""

    name: str
    draw: Callable[[np.random.Generator, Colour], str]
    colours: tuple[str, ...]
    settings: tuple[str, ...]
    max_turn_deg: float = 3.0
    has_sides: bool = True
    """False where a mirrored drawing would be wrong or no different."""


PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
COATS = ("brown", "black", "white", "gray")
CHART_INKS = ("red", "orange", "green", "blue", "purple")
STUDIO = ("plain", "white")

CLASSES = (
    Thing(
        "airplane",
        draw_airplane,
        ("red", "orange", "yellow", "green", "blue", "purple", "white", "gray"),
        ("sky", "sky", "sunset", *STUDIO),
        12.0,
    ),
    Thing("automobile", draw_automobile, PAINTS, ("road", "road", "snow", "meadow", *STUDIO)),
    Thing(
        "bird",
        draw_bird,
        ("red", "yellow", "green", "blue", "brown", "black", "white"),
        ("meadow", "meadow", "snow", "sky", *STUDIO),
    ),
    Thing("cat", draw_cat, ("orange", *COATS), ("room", "room", "meadow", *STUDIO)),
    Thing("deer", draw_deer, ("brown",), ("meadow", "meadow", "snow", "sunset", *STUDIO)),
    Thing("dog", draw_dog, COATS, ("meadow", "room", "snow", *STUDIO)),
    Thing(
        "frog",
        draw_frog,
        ("green", "green", "brown", "yellow"),
        ("pond", "pond", "meadow", *STUDIO),
    ),
    Thing("horse", draw_horse, COATS, ("meadow", "meadow", "sunset", "snow", *STUDIO)),
    Thing("ship", draw_ship, PAINTS, ("sea", "sea", "sea", "sunset", *STUDIO)),
    Thing("truck", draw_truck, PAINTS, ("road", "road", "snow", "sunset", *STUDIO)),
)
PRODUCTS = (
    Thing("running shoe", draw_running_shoe, PAINTS, ("table", "room", *STUDIO), 5.0),
    Thing("coffee mug", draw_coffee_mug, PAINTS, ("table", "table", *STUDIO)),
    Thing("delivery truck", draw_delivery_truck, PAINTS, ("road", "road", "snow", *STUDIO)),
    Thing("stack of chocolate cookies", draw_cookies, (), ("table", "table", *STUDIO)),
    Thing("backpack", draw_backpack, PAINTS, ("room", "meadow", *STUDIO), has_sides=False),
    Thing("bar chart", draw_bar_chart, CHART_INKS, STUDIO, 0.0, has_sides=False),
)
THINGS = {thing.name: thing for thing in CLASSES + PRODUCTS}
CLASS_NAMES = tuple(thing.name for thing in CLASSES)
