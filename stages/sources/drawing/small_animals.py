"""Small animals: a perched bird seen from the side and a frog seen from the front.

Flat shapes in three shades of one colour, bold enough to be named at 64 x 64 pixels.
"""

import numpy as np

from stages.sources.drawing.canvas import (
    Colour,
    beside,
    blob,
    circle,
    curve,
    ellipse,
    fit,
    group,
    line,
)

EYE_WHITE = "#ffffff"
PUPIL = "#17181d"
BEAK = "#f6a516"
BEAK_SHADE = "#c9760a"
LEG = "#c9760a"


def _bird_head(colour: Colour) -> str:
    """Round head with beak and eye, facing right."""
    # An orange beak on an orange or yellow head would vanish.
    warm = colour.name in ("orange", "yellow")
    upper, lower = ("#5a4a42", "#3b302b") if warm else (BEAK, BEAK_SHADE)
    return (
        blob("M76 24 C84 23 92 28 97 35 L76 36 Z", upper)
        + blob("M76 35 L97 35 C91 40 84 42 76 41 Z", lower)
        + circle((64, 31), 19, colour.fill)
        + circle((70, 27), 6.2, EYE_WHITE)
        + circle((71, 27), 4.2, PUPIL)
    )


def _bird_tail(colour: Colour, angle_deg: float) -> str:
    """Long tail to the lower left, with one lighter feather."""
    tail = blob("M38 52 C26 58 14 65 4 74 C3 80 7 86 13 86 C24 80 34 74 44 70 Z", colour.dark)
    feather = blob("M38 52 C26 58 14 65 4 74 C4 76 4 78 5 79 C18 72 30 66 42 61 Z", colour.fill)
    return group(tail + feather, f"rotate({angle_deg:.2f} 38 60)")


def _bird_legs(x: float) -> str:
    """Two short legs with forward toes, the rear one at `x`."""
    return "".join(
        line([(left, 74), (left + 1, 86)], LEG, 4) + line([(left - 3, 86), (left + 8, 86)], LEG, 4)
        for left in (x, x + 14)
    )


def draw_bird(rng: np.random.Generator, colour: Colour) -> str:
    """Perched bird in side view: round head, big beak, folded dark wing, long tail."""
    nod = rng.uniform(-12, 8)
    head_shift = rng.uniform(-2, 2)
    length = rng.uniform(-3, 3)
    tail = _bird_tail(colour, rng.uniform(-6, 10))
    body = blob(
        "M48 22 C38 34 28 48 27 62 C27 74 38 82 52 82 C70 82 84 70 85 54 C85 46 84 38 82 33 Z",
        colour.fill,
    )
    breast = blob("M82 44 C86 58 80 76 60 81 C66 70 68 54 72 46 C75 43 79 42 82 44 Z", colour.light)
    wing = blob(
        f"M52 44 C62 44 68 52 66 60 C62 70 44 76 {20 + length:.1f} {76 + length / 2:.1f} "
        "C28 66 34 48 52 44 Z",
        # The dark shade of black is nearly black: its wing needs the light one.
        colour.light if colour.name == "black" else colour.dark,
    )
    head = group(_bird_head(colour), f"translate(0 {head_shift:.2f}) rotate({nod:.2f} 62 32)")
    legs = _bird_legs(rng.uniform(44, 50))
    return fit(legs + tail + body + breast + wing + head)


def _frog_legs(colour: Colour, spread: float) -> str:
    """Folded hind legs with their big spread feet, both sides."""
    foot = "".join(
        line([(22 - spread, 79), (x - spread, 86)], colour.dark, 5.5) for x in (11, 20, 29)
    )
    return beside(foot + ellipse((22 - spread, 66), (14, 18), colour.dark, 18))


def _frog_arms(colour: Colour) -> str:
    """Two front legs with three-toed feet, before the belly."""
    toes = "".join(line([(36, 82), (x, 86)], colour.fill, 5) for x in (29, 36, 43))
    return beside(line([(31, 58), (36, 82)], colour.fill, 9) + toes)


def _frog_eye(x: float, look: float, colour: Colour) -> str:
    """Bulging eye on top of the head, its pupil shifted by `look`."""
    return (
        circle((x, 24), 14, colour.fill)
        + circle((x, 23), 9.5, EYE_WHITE)
        + ellipse((x + look, 23), (5.5, 6), PUPIL)
    )


def draw_frog(rng: np.random.Generator, colour: Colour) -> str:
    """Sitting frog in front view: bulging eyes, wide mouth, light belly, spread feet."""
    spread = rng.uniform(0, 4)
    look = rng.uniform(-2.5, 2.5)
    eye_gap = rng.uniform(19, 22)
    smile = rng.uniform(54, 60)
    width = rng.uniform(37, 40)
    mouth = colour.light if colour.name == "black" else colour.dark
    body = ellipse((50, 66), (27, 20), colour.fill)
    belly = ellipse((50, 69), (18, 16), colour.light)
    head = ellipse((50, 43), (width, 20), colour.fill)
    smile_line = curve(f"M22 43 C32 {smile:.1f} 68 {smile:.1f} 78 43", mouth, 4)
    eyes = _frog_eye(50 - eye_gap, look, colour) + _frog_eye(50 + eye_gap, look, colour)
    figure = _frog_legs(colour, spread) + body + belly + _frog_arms(colour) + head + eyes
    return fit(figure + smile_line)
