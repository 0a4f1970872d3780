"""Cat, dog, deer and horse: flat pictures that read at 64 px, told apart by silhouette.

All face right, with their feet near y = 90; the far side is painted in the dark shade of the coat.
"""

import numpy as np

from stages.sources.drawing.canvas import (
    Colour,
    Point,
    blob,
    circle,
    curve,
    ellipse,
    group,
    line,
    polygon,
)

_INK = "#1b1a1f"
_WHITE = "#ffffff"
_PINK = "#ee8f97"


def _accent(colour: Colour) -> str:
    """Shade for manes, ears and stripes that stands out from the coat, black and white included."""
    return {"black": colour.light, "white": "#93989f", "brown": "#3d2210"}.get(
        colour.name, colour.dark
    )


def _fit(figure: str) -> str:
    """The figure a little smaller, so that tails and noses keep clear of the border."""
    return group(figure, "translate(3.5 5.5) scale(0.93)")


def _eye(centre: Point, radius: float) -> str:
    """Dark dot in a white ring with a glint."""
    glint = circle((centre[0] + 0.7, centre[1] - 0.8), radius * 0.35, _WHITE)
    return circle(centre, radius + 1.1, _WHITE) + circle(centre, radius, _INK) + glint


def _leg(hip: Point, knee: Point, foot: Point, widths: Point, fill: str) -> str:
    """Leg that tapers from widths[0] at the hip to widths[1] at the knee, then runs to the foot."""
    (x, y), (knee_x, knee_y), thigh, shin = hip, knee, widths[0] / 2, widths[1] / 2
    upper = [(x - thigh, y), (x + thigh, y), (knee_x + shin, knee_y), (knee_x - shin, knee_y)]
    return polygon(upper, fill) + line([knee, foot], fill, widths[1])


def _hoof(foot: Point, width: float, fill: str, angle_deg: float = 0.0) -> str:
    """Hoof below `foot`, a little wider at the ground."""
    x, y = foot
    left, right, top, ground = x - width / 2, x + width / 2, y - 1.5, y + 4
    corners = [(left, top), (right, top), (right + 1.6, ground), (left - 0.4, ground)]
    return group(polygon(corners, fill), f"rotate({angle_deg:.2f} {x:.2f} {y:.2f})")


def _cat_body(colour: Colour, accent: str, striped: bool) -> str:
    """Sitting body: a curved back, the haunch, and two front legs under the chest."""
    back = "M58 38 C42 40 25 56 23 76 C22 86 27 91 36 91 L74 91 C77 72 79 52 74 40 Z"
    parts = blob(back, colour.fill)
    if striped:
        parts += curve("M36 50 C40 51 43 54 45 58", accent, 4)
        parts += curve("M28 62 C33 62 36 64 38 67", accent, 4)
    parts += line([(69, 62), (71, 86)], colour.dark, 8.5)
    parts += ellipse((74, 88), (6.5, 3.8), colour.dark)
    parts += ellipse((63, 55), (9, 12), colour.light)
    parts += line([(60, 62), (60, 86)], colour.fill, 9)
    parts += ellipse((62.5, 88), (7, 4), colour.light)
    parts += ellipse((38, 77), (14, 14), colour.dark)
    parts += ellipse((37.5, 78), (13.5, 13), colour.fill)
    return parts + ellipse((46, 88), (9, 4), colour.light)


def _cat_head(colour: Colour, accent: str, striped: bool, iris: str) -> str:
    """Round head with pointed ears, seen nearly from the front."""
    parts = polygon([(41, 26), (42, 3), (59, 14)], colour.fill)
    parts += polygon([(67, 14), (84, 3), (85, 26)], colour.fill)
    parts += polygon([(45, 20), (45.5, 10), (53, 15)], _PINK)
    parts += polygon([(73, 15), (80.5, 10), (81, 20)], _PINK)
    face = "M63 11 C78 11 88 20 88 31 C88 42 77 49 64 49 C50 49 38 42 38 31 C38 20 48 11 63 11 Z"
    parts += blob(face, colour.fill)
    if striped:
        parts += line([(63.5, 13), (63.5, 20)], accent, 3.6)
        parts += line([(57, 14), (58, 18)], accent, 3.6) + line([(70, 14), (69, 18)], accent, 3.6)
    parts += ellipse((65, 41), (10, 7), colour.light)
    for x in (54, 75):
        parts += ellipse((x, 29.5), (5.4, 5.8), _WHITE) + ellipse((x, 29.5), (4.6, 5), iris)
        parts += ellipse((x + 0.4, 29.5), (2.4, 4.4), _INK)
    return parts + polygon([(61.5, 37), (68.5, 37), (65, 41.5)], _PINK)


def draw_cat(rng: np.random.Generator, colour: Colour) -> str:
    """Sitting cat with its face to the viewer and its tail raised behind it."""
    accent, striped = _accent(colour), bool(rng.random() < 0.6)
    tip_x, tip_y = rng.uniform(10, 17), rng.uniform(42, 54)
    iris = ["#8ed04b", "#f0b92b", "#55b7e8"][rng.integers(3)]
    tail = curve(
        f"M34 86 C16 92 8 80 13 68 C16 60 {tip_x + 7:.2f} {tip_y + 8:.2f} {tip_x:.2f} {tip_y:.2f}",
        colour.dark,
        8,
    )
    end = line([(tip_x, tip_y), (tip_x + 1.5, tip_y + 3)], accent if striped else colour.light, 8)
    head = _cat_head(colour, accent, striped, iris)
    tilt = f"translate(0 {rng.uniform(-1, 3):.2f}) rotate({rng.uniform(-7, 7):.2f} 63 40)"
    figure = tail + end + _cat_body(colour, accent, striped) + group(head, tilt)
    return group(figure, "translate(1 1)")


def _dog_legs(colour: Colour, spread: float, far: bool) -> str:
    """Fore and hind leg of one side, with paws."""
    fill, shift = (colour.dark, 9.0) if far else (colour.fill, 0.0)
    hind, fore = 24 - spread + shift, 57 + spread + shift
    hind_leg = _leg((28 + shift, 62), (hind - 1, 76), (hind, 85), (17, 8.5), fill)
    fore_leg = _leg((58 + shift, 60), (fore, 75), (fore, 85), (12, 8.5), fill)
    paw = colour.dark if far else colour.light
    paws = "".join(ellipse((x + 2, 87), (6.5, 3.8), paw) for x in (hind, fore))
    return hind_leg + fore_leg + paws


def _dog_head(colour: Colour, ear_deg: float, tongue: bool, patch: bool) -> str:
    """Big head in profile: domed skull, square snout, hanging ear."""
    parts = curve("M82 42 L83 50", _PINK, 6) if tongue else ""
    skull = (
        "M52 30 C52 16 62 10 71 12 C77 13 79 18 81 22 L91 24 C96 25 97 31 95 36 "
        "C93 42 86 44 79 44 C76 50 68 53 61 50 C54 47 52 39 52 30 Z"
    )
    parts += blob(skull, colour.fill)
    snout = "M80 27 C85 25 91 25 94 27 C97 31 95 37 92 40 C88 43 82 44 78 43 C75 38 76 31 80 27 Z"
    parts += blob(snout, colour.light)
    parts += curve("M80 38 C84 39.5 88 39 91 36.5", colour.dark, 3)
    parts += ellipse((92.5, 26), (4.6, 4), _INK)
    if patch:
        parts += ellipse((73, 23), (6.5, 7), colour.light)
    parts += _eye((73.5, 23), 2.6)
    flap = "M55 15 C62 13 66 20 65 30 C64 40 61 48 55 49 C48 49 46 40 47 31 C48 23 50 17 55 15 Z"
    return parts + group(blob(flap, _accent(colour)), f"rotate({ear_deg:.2f} 57 17)")


def draw_dog(rng: np.random.Generator, colour: Colour) -> str:
    """Standing dog: floppy ear, snout, collar, and a raised tail."""
    spread, wag = rng.uniform(-2, 3), rng.uniform(-5, 4)
    tail = curve(f"M20 52 C10 48 6 38 {11 + wag:.2f} {26 + abs(wag) / 2:.2f}", colour.fill, 8)
    torso = (
        "M15 56 C14 47 22 44 32 45 C42 46 48 44 54 38 L72 46 C75 56 72 68 63 71 "
        "C54 73 46 67 38 69 C26 73 16 68 15 56 Z"
    )
    body = blob(torso, colour.fill)
    if rng.random() < 0.4:
        body += ellipse((36, 52), (9, 6.5), _accent(colour), -5)
    body += blob("M67 50 C74 54 73 66 65 70 C60 66 61 56 67 50 Z", colour.light)
    band = "#2459c9" if colour.name in ("red", "orange") else "#d8262c"
    collar = curve("M51 45 C56 52 64 55 71 52", band, 5.5)
    collar += ellipse((68, 57), (3.2, 3.2), "#f5c91f")
    head = _dog_head(colour, rng.uniform(-8, 12), bool(rng.random() < 0.5), rng.random() < 0.4)
    nod = f"rotate({rng.uniform(-7, 6):.2f} 58 45)"
    legs = _dog_legs(colour, spread, far=False)
    far = _dog_legs(colour, spread, far=True)
    return _fit(tail + far + body + legs + collar + group(head, nod))


def _deer_legs(colour: Colour, spread: float, far: bool) -> str:
    """Slim fore and hind leg of one side, with small hooves."""
    fill, shift = (colour.dark, 10.5) if far else (colour.fill, 0.0)
    step = -spread if far else spread
    hind, fore = 22 + shift + step, 54.5 + shift + step
    legs = _leg((26 + shift * 0.6, 60), (hind - 1, 74), (hind, 86), (14, 6), fill)
    legs += _leg((56 + shift * 0.6, 60), (fore, 74), (fore, 86), (10, 6), fill)
    return legs + _hoof((hind, 87.5), 6, _INK) + _hoof((fore, 87.5), 6, _INK)


def _antlers(fill: str, lift: float) -> str:
    """Two branching antlers that spread to both sides of the head."""
    top = 6 - lift
    left = f"M69 27 C66 20 54 21 53 {top + 2:.2f}"
    right = f"M73 27 C76 20 89 21 90 {top + 2:.2f}"
    tines = line([(59, 19.5), (63.5, 8)], fill, 4) + line([(83, 19.5), (79, 8)], fill, 4)
    tines += line([(54.5, 15), (46, 9)], fill, 4) + line([(88.5, 15), (96, 9)], fill, 4)
    return curve(left, fill, 4.4) + curve(right, fill, 4.4) + tines


def _deer_head(colour: Colour, lift: float) -> str:
    """Narrow head with ears and antlers, on a slim upright neck."""
    antler = "#8f6a3e" if colour.name in ("black", "gray", "white") else "#5a3a1e"
    parts = _antlers(antler, lift)
    parts += ellipse((61, 31), (7.5, 3.6), colour.dark, 14)
    neck = "M47 52 C56 46 60 38 63 30 L75 38 C73 46 73 54 70 62 C62 66 50 62 47 52 Z"
    parts += blob(neck, colour.fill)
    parts += blob("M74 40 C72 47 72 54 70 62 C65 61 64 52 68 43 Z", colour.light)
    face = "M63 31 C64 24 75 23 79 28 L90 36 C94 39 92 45 87 45 C80 46 66 44 63 31 Z"
    parts += blob(face, colour.fill)
    parts += ellipse((85, 42), (5, 3.2), colour.light, 12)
    parts += ellipse((89.6, 39), (3.4, 3.2), _INK)
    return parts + _eye((75.5, 32.5), 2.5)


def draw_deer(rng: np.random.Generator, colour: Colour) -> str:
    """Standing stag: slim legs, wide antlers, pale belly and spots, short raised tail."""
    spread = rng.uniform(-2.5, 0.8)
    tail = group(
        ellipse((15, 45), (4.5, 7.5), colour.light if colour.name != "white" else colour.dark),
        f"rotate({rng.uniform(-50, -15):.2f} 19 50)",
    )
    torso = (
        "M16 53 C17 45 26 43 35 45 C43 47 50 47 56 44 L70 54 C71 62 66 67 59 67 "
        "C50 66 44 63 37 65 C27 69 15 64 16 53 Z"
    )
    pale = _WHITE if colour.name != "white" else colour.dark
    body = blob(torso, colour.fill)
    belly = blob("M34 65 C42 58 54 60 62 66 C54 69 46 64 34 65 Z", pale)
    spots = "".join(
        circle((x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)), 2.1, pale)
        for x, y in ((26, 50), (35, 52), (44, 53), (30, 58))
    )
    nod = f"rotate({rng.uniform(-6, 5):.2f} 58 56)"
    head = group(_deer_head(colour, rng.uniform(-1, 2)), nod)
    near = _deer_legs(colour, spread, far=False)
    figure = tail + _deer_legs(colour, spread, far=True) + body + belly + near + head + spots
    return _fit(group(figure, "translate(-1.5 0)"))


def _horse_legs(colour: Colour, spread: float, trot: bool, sock: str | None, far: bool) -> str:
    """Fore and hind leg of one side; in a trot the near fore leg is lifted."""
    fill, shift = (colour.dark, 10.5) if far else (colour.fill, 0.0)
    step = -spread if far else spread
    hind, fore = 20 + shift + step, 57 + (1 if trot else shift) + step
    hoof = colour.light if colour.name == "black" else _INK
    legs = _leg((25.5 + shift * 0.5, 56), (hind - 1, 74), (hind, 84), (19, 7), fill)
    hind_foot, fore_foot, bend = (hind, 86.0), (fore, 86.0), 0.0
    if trot and not far:
        knee, fore_foot, bend = (79.0, 63.0), (77.0, 76.0), 20.0
        legs += line([(64, 57), knee, fore_foot], fill, 7.5)
    else:
        legs += _leg((61 + shift * 0.4, 56), (fore, 74), (fore, 84), (13, 7), fill)
    if sock and not far:
        for x, y in (hind_foot, fore_foot):
            legs += line([(x, y - 6), (x, y)], sock, 7)
    return legs + _hoof(hind_foot, 7, hoof) + _hoof(fore_foot, 7, hoof, bend)


def _horse_head(colour: Colour, mane: str, ear_deg: float, blaze: bool) -> str:
    """Strong arched neck and long head, with the mane down the crest."""
    ear = polygon([(66, 15), (68.5, 0.5), (77, 12)], colour.fill)
    neck = "M44 44 C54 36 56 18 68 9 L80 26 C75 34 77 46 74 56 C64 64 48 58 44 44 Z"
    parts = blob(neck, colour.fill)
    face = (
        "M66 14 C69 7 78 8 82 14 L94 29 C97 33 95 39 90 39.5 "
        "C86 40 83 37 80 34 C73 34 66 26 66 14 Z"
    )
    parts += blob(face, colour.fill)
    if blaze:
        parts += line([(81, 15.5), (90, 26.5)], _WHITE, 3.6)
    parts += ellipse((90, 33.5), (5.6, 5.4), colour.dark if colour.name != "black" else mane)
    parts += _eye((77.5, 20), 2.4)
    crest = (
        "M76 7 C66 3 58 10 54 20 C50 29 47 35 40 40 C46 44 53 43 57 39 C58 35 61 33 63 30 "
        "C63 25 66 22 67 18 C70 17 74 13 76 7 Z"
    )
    return parts + blob(crest, mane) + group(ear, f"rotate({ear_deg:.2f} 72 12)")


def draw_horse(rng: np.random.Generator, colour: Colour) -> str:
    """Standing or trotting horse: long neck and face, dark mane, full tail, hooves."""
    mane, trot = _accent(colour), bool(rng.random() < 0.4)
    spread, sweep = rng.uniform(-2.5, 0.8), rng.uniform(-3, 3)
    tip = 6 + sweep
    tail = blob(
        f"M22 41 C10 36 5 48 {tip + 1:.2f} 60 C{tip:.2f} 67 {tip - 1:.2f} 72 {tip - 2:.2f} 78 "
        f"C{tip + 10:.2f} 76 15 64 16 54 C17 50 20 48 23 48 Z",
        mane,
    )
    torso = (
        "M15 50 C15 40 25 37 34 40 C42 42 48 42 54 37 L73 46 C77 56 71 64 61 64.5 "
        "C51 64.5 45 59 37 61.5 C26 65 16 60 15 50 Z"
    )
    sock = _WHITE if rng.random() < 0.4 and colour.name != "white" else None
    head = _horse_head(colour, mane, rng.uniform(-12, 12), bool(rng.random() < 0.5))
    nod = group(head, f"rotate({rng.uniform(-5, 7):.2f} 58 52)")
    far = _horse_legs(colour, spread, trot, sock, far=True)
    near = _horse_legs(colour, spread, trot, sock, far=False)
    return _fit(tail + far + blob(torso, colour.fill) + near + nod)
