"""Products and their like: shoe, mug, cookies, backpack and bar chart.

Flat shapes in three shades of one colour, bold enough to be named at 64 x 64 pixels.
"""

import numpy as np

from stages.sources.drawing.canvas import (
    Colour,
    beside,
    blob,
    curve,
    ellipse,
    fit,
    line,
    polygon,
    rectangle,
)

WHITE = "#ffffff"
SOLE_SHADE = "#8b9199"
AXIS = "#3d424b"
STEAM = "#8e98a8"
COFFEE = "#4a2613"
CHOCOLATE = "#3f1f10"
COOKIE_TOP = "#d79a55"
COOKIE_SIDE = "#a9692f"


def draw_running_shoe(rng: np.random.Generator, colour: Colour) -> str:
    """Running shoe in side view, toe to the right: white sole, laces, swoosh, heel tab."""
    toe = rng.uniform(-2, 3)
    collar = rng.uniform(-3, 2)
    stripe = WHITE if colour.name != "white" else SOLE_SHADE
    tongue = SOLE_SHADE if colour.name == "white" else colour.dark
    upper = blob(
        f"M9 {28 + collar:.1f} C18 40 28 38 37 {24 + collar:.1f} C46 28 56 42 70 49 "
        f"C84 {51 - toe:.1f} 95 57 95 74 L7 74 C5 58 10 44 9 {28 + collar:.1f} Z",
        colour.fill,
    )
    heel = blob(
        f"M9 {28 + collar:.1f} L20 36 C19 50 20 62 22 74 L7 74 C5 58 10 44 9 30 Z", colour.dark
    )
    panel = polygon([(37, 24 + collar), (45, 21 + collar), (76, 49), (66, 56), (37, 39)], tongue)
    cap = blob(f"M80 {52 - toe:.1f} C91 56 95 62 95 74 L76 74 C74 66 75 58 80 52 Z", colour.dark)
    end = rng.uniform(64, 72)
    swoosh = blob(
        f"M24 46 C34 52 44 61 {end:.1f} 72 L{end - 18:.1f} 72 C36 68 27 60 24 46 Z", stripe
    )
    sole = rectangle((4, 71), (92, 13), WHITE, 6) + rectangle((5, 80), (90, 6), SOLE_SHADE, 3)
    laces = "".join(
        line([(40 + 21 * t, 39 + 13 * t), (47 + 21 * t, 32.5 + 13 * t)], WHITE, 4)
        for t in np.linspace(0, 1, int(rng.integers(3, 5)))
    )
    return fit(upper + heel + cap + panel + laces + swoosh + sole)


def _steam(x: float, sway: float) -> str:
    """One curl of steam rising above the mug at `x`."""
    return curve(f"M{x:.1f} 20 C{x - sway:.1f} 15 {x + sway:.1f} 11 {x:.1f} 5", STEAM, 4)


def draw_coffee_mug(rng: np.random.Generator, colour: Colour) -> str:
    """Mug of coffee with a big handle at the right, sometimes steaming."""
    left, right = 10.0, rng.uniform(66, 70)
    taper = rng.uniform(0, 5)
    reach = rng.uniform(94, 98)
    middle, radius = (left + right) / 2, (right - left) / 2
    handle = curve(
        f"M{right - 3:.1f} 43 C{reach:.1f} 36 {reach:.1f} 76 {right - 6:.1f} 70", colour.dark, 9
    )
    body = blob(
        f"M{left:.1f} 33 L{left + taper:.1f} 80 C{left + taper:.1f} 91 {right - taper:.1f} 91 "
        f"{right - taper:.1f} 80 L{right:.1f} 33 Z",
        colour.fill,
    )
    shade = blob(
        f"M{right - 13:.1f} 33 L{right:.1f} 33 L{right - taper:.1f} 80 "
        f"C{right - taper:.1f} 86 {right - 10:.1f} 88 {right - 18:.1f} 88 Z",
        colour.dark,
    )
    rim = ellipse((middle, 33), (radius, 10), colour.light)
    coffee = ellipse((middle, 34), (radius - 5, 6.5), COFFEE)
    sway = rng.uniform(5, 8) * rng.choice([-1, 1])
    steam = _steam(middle - 9, sway) + _steam(middle + 9, sway) if rng.random() < 0.7 else ""
    return handle + body + shade + rim + coffee + steam


def _cookie(rng: np.random.Generator, x: float, top: float, thickness: float) -> str:
    """One thick cookie centred on `x` with its upper face at `top`, chips on its side."""
    radius, flat = rng.uniform(36, 39), 12.5
    side = (
        ellipse((x, top + thickness), (radius, flat), COOKIE_SIDE)
        + rectangle((x - radius, top), (2 * radius, thickness), COOKIE_SIDE)
        + ellipse((x, top), (radius, flat), COOKIE_TOP)
    )
    chips = ""
    for place in (-0.62, -0.05, 0.55):
        across = place + rng.uniform(-0.15, 0.15)
        drop = flat * float(np.sqrt(1 - across**2)) + thickness * 0.5
        chips += ellipse((x + across * radius, top + drop), (4.6, 3.2), CHOCOLATE)
    return side + chips


def draw_cookies(rng: np.random.Generator, colour: Colour) -> str:
    """Stack of three to five chocolate-chip cookies, always cookie-brown."""
    del colour  # Cookies of any other colour would not be read as cookies.
    count = int(rng.integers(3, 6))
    thickness = {3: 17.0, 4: 13.0, 5: 9.0}[count]
    gap = thickness + 3
    stack, x, top = "", 50.0, 0.0
    for i in range(count):
        x = 50 + rng.uniform(-4, 4)
        top = 75 - thickness - i * gap
        stack += _cookie(rng, x, top, thickness)
    spots = ((-23, -1), (-7, -6), (-5, 5.5), (9, 0), (21, -5), (24, 4))
    chips = "".join(
        ellipse((x + dx + rng.uniform(-2, 2), top + dy), (5, 3.2), CHOCOLATE) for dx, dy in spots
    )
    return stack + chips


def _pocket(colour: Colour, top: float, pull: float) -> str:
    """Front pocket of the backpack with a light zip and its pull at `pull`."""
    # Black's dark shade cannot be told from its fill, so its pocket is the lighter part.
    pocket, zip_tape = colour.dark, colour.light
    if colour.name == "black":
        pocket, zip_tape = colour.light, "#c3c7d0"
    return (
        rectangle((28, top), (44, 83 - top), pocket, 7)
        + line([(34, top + 8), (66, top + 8)], zip_tape, 3.5)
        + line([(pull, top + 8), (pull, top + 15)], zip_tape, 4)
    )


def draw_backpack(rng: np.random.Generator, colour: Colour) -> str:
    """Backpack in front view: handle, rounded top, side straps, zipped front pocket."""
    shoulder = rng.uniform(12, 17)
    pocket_top = rng.uniform(50, 55)
    bulge = rng.uniform(0, 3)
    # A dark strap at each side, and a pouch low beside the body.
    strap = curve(f"M26 26 C8 34 {7 - bulge / 2:.1f} 58 14 80", colour.dark, 7)
    pouch = rectangle((11 - bulge, 58), (20, 28), colour.dark, 8)
    handle = curve("M38 16 C38 4 62 4 62 16", colour.dark, 6)
    body = blob(
        f"M20 42 C20 {shoulder:.1f} 34 12 50 12 C66 12 80 {shoulder:.1f} 80 42 L81 80 "
        "C81 86 78 88 73 88 L27 88 C22 88 19 86 19 80 Z",
        colour.fill,
    )
    seam = curve("M29 43 C29 26 38 22 50 22 C62 22 71 26 71 43", colour.light, 4)
    pull = rng.choice([38.0, 50.0, 62.0])
    return beside(strap + pouch) + handle + body + seam + _pocket(colour, pocket_top, pull)


def _bars(heights: list[float], colour: Colour) -> str:
    """Wide bars standing on the x axis, each with a dark right-hand side."""
    step = 76 / len(heights)
    width = step - 3.5
    bars = ""
    for i, height in enumerate(heights):
        left = 18 + i * step
        bars += rectangle((left, 83 - height), (width, height), colour.fill)
        bars += rectangle((left + width - 4.5, 83 - height), (4.5, height), colour.dark)
    return bars


def draw_bar_chart(rng: np.random.Generator, colour: Colour) -> str:
    """Bar chart with two axes and four or five bars, sometimes on a white card."""
    count = int(rng.integers(4, 6))
    if rng.random() < 0.5:
        shares = np.linspace(0.3, 1.0, count) + rng.uniform(-0.08, 0.08, count)
    else:
        shares = rng.permutation(np.linspace(0.3, 1.0, count))
    heights = [float(66 * share) for share in np.clip(shares, 0.25, 1.0)]
    has_card = rng.random() < 0.5
    # White bars would be lost on a white card or a pale ground.
    paper = "#7d8794" if colour.name == "white" else WHITE
    has_card |= colour.name == "white"
    card = rectangle((4, 8), (94, 84), paper, 6) if has_card else ""
    axes = line([(12, 15), (12, 85), (93, 85)], AXIS, 4)
    return fit(card + _bars(heights, colour) + axes)
