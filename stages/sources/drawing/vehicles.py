"""Vehicles, facing right and seen from the side: airplane, car, ship, truck and delivery truck.

Wheels and keels end near y = 78, so that a scene can stand them on the ground; the airplane is
centred at y = 50.
"""

import numpy as np

from stages.sources.drawing.canvas import (
    Colour,
    Point,
    blob,
    circle,
    ellipse,
    line,
    polygon,
    rectangle,
)

GROUND = 78.0
WHITE = "#fbfbf8"
SHADE = "#cfd5da"
TYRE = "#24262b"
HUB = "#c3c9cf"
CHASSIS = "#43474e"
GLASS = "#33475c"
PALE_GLASS = "#bfe2f5"
LAMP = "#ffe58a"
TAIL_LAMP = "#e0452f"
LOAD_SHADES = {
    ("#a3abb3", "#727a83"): ("gray",),
    ("#9b6b45", "#6d472b"): ("brown", "orange"),
    ("#f1e3c0", "#c9b489"): ("white", "yellow"),
}
"""Main and dark shade of a load space, and the colours that it could be mistaken for."""


def draw_airplane(rng: np.random.Generator, colour: Colour) -> str:
    """Jet airliner in three-quarter view: two swept wings and an accented tail fin."""
    half = rng.uniform(8.5, 10.5)
    top, low = 50 - half, 50 + half
    tail = low - rng.uniform(10, 12)
    accent = _accent(rng, colour)
    shift = rng.uniform(-3, 3)
    far_tip = top - rng.uniform(15, 19)
    corners = ((63, top + 3), (41, far_tip), (33, far_tip), (44, top + 3))
    far = polygon([(x + shift, y) for x, y in corners], colour.dark)
    fin_top = top - rng.uniform(17, 21)
    fin = blob(
        f"M7 {top + 5} L4 {fin_top + 2} Q4 {fin_top} 6 {fin_top} L13 {fin_top} "
        f"Q15 {fin_top} 16 {fin_top + 2} L24 {top - 3} Q26 {top} 31 {top + 1} L28 {top + 6} Z",
        accent,
    )
    outline = (
        f"M6 {top + 3} Q6 {top + 1} 9 {top + 1} L30 {top} L74 {top} "
        f"C84 {top} 95 {48 - half * 0.1} 95 53 "
        f"C95 {low - 2} 86 {low} 74 {low}"
    )
    body = blob(f"{outline} L40 {low} C26 {low} 10 {tail} 6 {top + 3} Z", colour.fill)
    belly = blob(
        f"M22 {low - 4} C40 {low - 3} 70 {low - 2} 94 55 C92 {low - 1} 84 {low} 74 {low} L40 {low} "
        f"C34 {low} 28 {low - 2} 22 {low - 4} Z",
        colour.dark,
    )
    cockpit = blob(
        f"M81 {top + 3.5} L86 {top + 3.5} Q90 {top + 5.5} 91.5 49.5 L81 49.5 Z", _glass(colour)
    )
    windows = _airplane_windows(rng, colour, top)
    return far + fin + body + belly + cockpit + windows + _near_wings(rng, colour, shift)


def _airplane_windows(rng: np.random.Generator, colour: Colour, top: float) -> str:
    """A row of windows along the body: round ones, or one long stripe."""
    y = top + 6.2
    shade = GLASS if colour.name in ("white", "yellow") else WHITE
    if rng.random() < 0.5:
        return line([(30, y), (74, y)], shade, 3.6)
    step = rng.uniform(6.6, 7.8)
    return "".join(circle((75 - step * i, y), 2.1, shade) for i in range(7))


def _near_wings(rng: np.random.Generator, colour: Colour, shift: float) -> str:
    """The wing and tailplane on the viewer's side, with one or two engines under the wing."""
    tip = 50 + rng.uniform(28, 32)
    back = rng.uniform(21, 26) + shift
    wing = blob(
        f"M{66 + shift} 54 Q64 51 60 51.5 L44 53 L{back} {tip - 2} "
        f"Q{back} {tip} {back + 2} {tip} L{back + 9} {tip} Z",
        colour.light,
    )
    engine_shade = SHADE if colour.name != "white" else "#6f7f92"
    spots: list[Point] = [(55 + shift, 66)]
    if rng.random() < 0.5:
        spots.append((44 + shift, 75))
    engines = "".join(rectangle((x - 6, y - 3.5), (13, 7), engine_shade, 3.4) for x, y in spots)
    tailplane = polygon([(25, 45), (9, 56.5), (3, 56.5), (11, 45)], colour.light)
    return engines + wing + tailplane


def draw_automobile(rng: np.random.Generator, colour: Colour) -> str:
    """Car in profile: a hatchback, a sedan or an SUV."""
    kind = str(rng.choice(["hatchback", "sedan", "suv"]))
    # Rear window's foot and top, windscreen's top and foot, all along x; then roof and waistline.
    rear, rear_top, front_top, front, roof, waist = {
        "hatchback": (9.0, 20.0, 49.0, 67.0, 37.0, 53.0),
        "sedan": (20.0, 34.0, 54.0, 71.0, 39.0, 54.0),
        "suv": (8.0, 13.0, 56.0, 70.0, 31.5, 49.0),
    }[kind]
    roof += rng.uniform(-2, 1)
    front_top += rng.uniform(-2, 3)
    front += rng.uniform(-1, 2)
    sill = 72.0 if kind != "suv" else 70.5
    outline = (
        f"M6 {waist + 7} Q6 {waist} {max(rear - 2, 8)} {waist} L{rear} {waist - 1} "
        f"Q{rear_top - 3} {roof} {rear_top + 4} {roof} L{front_top - 3} {roof} "
        f"Q{front_top + 3} {roof} "
        f"{front_top + 6} {roof + 4} L{front} {waist - 0.5} L84 {waist + 2} "
        f"Q94 {waist + 4} 94 {waist + 11} "
    )
    body = blob(
        f"{outline} L95 {sill - 3} Q95 {sill} 92 {sill} L9 {sill} Q6 {sill} 6 {sill - 3} Z",
        colour.fill,
    )
    skirt = rectangle((6, sill - 5), (89, 5), colour.dark, 2.5)
    shine = line([(12, waist + 4.2), (80, waist + 4.8)], colour.light, 3.0)
    windows = _car_windows(
        (rear, waist), (rear_top, roof), (front_top, roof), (front, waist), _glass(colour)
    )
    handle_x = rng.uniform(40, 44)
    door = rectangle((handle_x, waist + 8), (7, 3), colour.dark, 1.5)
    lamps = ellipse((90, waist + 9.5), (3.6, 3.4), LAMP) + rectangle(
        (6, waist + 6), (4, 6.5), TAIL_LAMP, 1.5
    )
    radius = rng.uniform(8.5, 9.6) + (0.8 if kind == "suv" else 0.0)
    wheels = "".join(_wheel(x, radius, arch=colour.dark) for x in (25.0, 75.0))
    return body + skirt + shine + windows + door + lamps + wheels


def _car_windows(rear: Point, rear_top: Point, front_top: Point, front: Point, glass: str) -> str:
    """Two side windows inside the roof's outline, parted by a pillar."""
    foot, top = rear[1] - 0.5, rear_top[1] + 4.2
    pillar = (rear_top[0] + front_top[0]) / 2 + 1
    back = [(rear[0] + 5.5, foot), (rear_top[0] + 3.5, top), (pillar - 2, top), (pillar - 2, foot)]
    ahead = [(pillar + 2, foot), (pillar + 2, top), (front_top[0] + 1, top), (front[0] - 5, foot)]
    return polygon(back, glass) + polygon(ahead, glass)


def draw_ship(rng: np.random.Generator, colour: Colour) -> str:
    """Passenger liner or container ship; its hull's foot is the waterline."""
    deck = rng.uniform(53, 56)
    bow = deck - rng.uniform(4, 6)
    hull = blob(
        f"M5 {deck} L74 {deck} Q86 {deck - 1} 96 {bow} Q93 68 85 {GROUND} "
        f"L14 {GROUND} Q7 {GROUND} 6 70 Z",
        colour.fill,
    )
    pale = colour.name == "white"
    keel = blob(
        f"M6.2 71.5 L89.5 71.5 Q87.5 75 85 {GROUND} L14 {GROUND} Q7.5 {GROUND} 6.2 71.5 Z",
        "#5c7391" if pale else colour.dark,
    )
    if rng.random() < 0.6:
        return _liner_decks(rng, colour, deck) + hull + keel + _portholes(rng, colour, deck)
    stripe = line([(14, deck + 6.5), (80, deck + 6.5)], colour.dark if pale else colour.light, 3.4)
    return _cargo_decks(rng, colour, deck) + hull + keel + stripe


def _portholes(rng: np.random.Generator, colour: Colour, deck: float) -> str:
    """A row of round windows in the hull."""
    count = int(rng.integers(5, 7))
    shade = GLASS if colour.name in ("white", "yellow") else WHITE
    return "".join(
        circle((18 + 60 / (count - 1) * i, deck + 8.5), 2.4, shade) for i in range(count)
    )


def _liner_decks(rng: np.random.Generator, colour: Colour, deck: float) -> str:
    """White decks in steps with rows of windows, below two or three funnels."""
    left, right = rng.uniform(13, 16), rng.uniform(74, 78)
    funnels = int(rng.integers(2, 4))
    upper = deck - 20
    step = (right - left - 26) / funnels
    stacks = "".join(
        _funnel((left + 14.5 + step * (i + 0.5), upper + 2), 10.5 - 2 * (funnels - 2), 19, colour)
        for i in range(funnels)
    )
    # On a white ship only gray decks keep the superstructure apart from the hull.
    wall = "#d3dae1" if colour.name == "white" else WHITE
    decks = rectangle((left, deck - 10.5), (right - left, 12), wall, 2)
    decks += rectangle((left + 7, upper), (right - left - 15, 10), WHITE, 2)
    floor = rectangle((left + 7, deck - 11.5), (right - left - 15, 2.6), SHADE)
    rows = line([(left + 13, upper + 5), (right - 14, upper + 5)], GLASS, 3.2)
    rows += line([(left + 6, deck - 4.8), (right - 6, deck - 4.8)], GLASS, 3.2)
    return stacks + decks + floor + rows


def _funnel(foot: Point, width: float, height: float, colour: Colour) -> str:
    """Funnel leaning back a little, with a light band and a dark rim."""
    x, y = foot
    fill, dark = ("#d8262c", "#9c171c") if colour.name == "white" else (colour.fill, colour.dark)
    half = width / 2

    def slab(low: float, high: float, shade: str) -> str:
        a, b = x - 0.14 * low, x - 0.14 * high
        corners = [(a - half, y - low), (b - half, y - high), (b + half, y - high)]
        return polygon([*corners, (a + half, y - low)], shade)

    band = slab(height * 0.42, height * 0.66, WHITE)
    return slab(0, height, fill) + band + slab(height - 3.2, height, dark)


def _cargo_decks(rng: np.random.Generator, colour: Colour, deck: float) -> str:
    """A tall white bridge with a funnel at the stern, and stacked containers before it."""
    bridge = deck - rng.uniform(27, 30)
    wall = "#d3dae1" if colour.name == "white" else WHITE
    tower = rectangle((11, bridge), (17, deck - bridge + 2), wall, 2)
    tower += rectangle((9, bridge), (23, 9.5), WHITE, 2)
    panes = line([(14, bridge + 5), (29, bridge + 5)], GLASS, 3.8)
    panes += "".join(line([(15.5, y), (23.5, y)], GLASS, 3.2) for y in (bridge + 15, bridge + 21))
    shades = [colour.light, colour.fill, colour.dark, SHADE, "#98a1ab", "#d9b36c"]
    if colour.name == "white":
        shades = [colour.fill, "#8a95a1", "#b9c1c9", "#d9b36c"]
    boxes, last, high = "", -1, 9.0
    for column, tiers in enumerate((3, int(rng.integers(2, 4)), 2)):
        for tier in range(tiers):
            last = (last + int(rng.integers(1, len(shades)))) % len(shades)
            corner = (35 + 15 * column, deck - high * (tier + 1))
            boxes += rectangle(corner, (14.4, high - 0.6), shades[last], 1)
    funnel = _funnel((19, bridge + 2), 10, 15, colour)
    return funnel + tower + panes + boxes + rectangle((33, deck - 1), (48, 4), colour.dark)


def draw_truck(rng: np.random.Generator, colour: Colour) -> str:
    """Cargo lorry: cab in the colour before a large box, or before a tipper bed with its load."""
    cab_left = rng.uniform(61, 64)
    frame = rectangle((7, 64), (86, 7), CHASSIS, 2)
    load = _cargo_box if rng.random() < 0.6 else _tipper_bed
    radius = rng.uniform(8.2, 9.0)
    wheels = "".join(_wheel(x, radius) for x in (17.0, 17 + 2 * radius + 1.5, 80.0))
    return frame + load(rng, colour, cab_left - 3) + _lorry_cab(rng, colour, cab_left) + wheels


def _lorry_cab(rng: np.random.Generator, colour: Colour, left: float) -> str:
    """Tall cab with a steep windscreen, a side window and a bumper."""
    roof = rng.uniform(33, 36)
    body = blob(
        f"M{left} 71 L{left} {roof + 4} Q{left} {roof} {left + 4} {roof} L{left + 19} {roof} "
        f"Q{left + 22} {roof} {left + 23.5} {roof + 3} L92 53 Q94 54 94 57 L94 71 Z",
        colour.fill,
    )
    window = blob(
        f"M{left + 7} {roof + 5} L{left + 19} {roof + 5} L{left + 25} 52 L{left + 7} 52 Z",
        _glass(colour),
    )
    stripe = rectangle(
        (left, 56), (20, 3.4), colour.light if colour.name != "white" else colour.dark, 1
    )
    bumper = rectangle((left, 67), (95 - left, 5), colour.dark, 2)
    lamp = rectangle((89.5, 59), (5, 5.5), LAMP, 2)
    return body + window + stripe + bumper + lamp


def _load_shades(rng: np.random.Generator, colour: Colour) -> tuple[str, str]:
    """Main and dark shade of a load space, unlike the cab's colour."""
    pairs = [shades for shades, alike in LOAD_SHADES.items() if colour.name not in alike]
    return pairs[rng.choice(len(pairs))]


def _cargo_box(rng: np.random.Generator, colour: Colour, right: float) -> str:
    """Large box body with ribs or plain sides, and a stripe in the cab's colour."""
    shade, dark = _load_shades(rng, colour)
    top = rng.uniform(22, 26)
    box = rectangle((5, top), (right - 5, 66 - top), shade, 2) + rectangle(
        (5, 60), (right - 5, 6), dark, 2
    )
    if rng.random() < 0.5:
        return box + rectangle((5, top + 13), (right - 5, 11), colour.fill)
    ribs = "".join(
        rectangle((x, top + 4), (3.2, 24), dark, 1) for x in np.linspace(11, right - 9, 5)
    )
    return box + ribs + rectangle((5, 51), (right - 5, 9), colour.fill)


def _tipper_bed(rng: np.random.Generator, colour: Colour, right: float) -> str:
    """Open bed with slanted ends, heaped with earth or gravel."""
    shade, dark = _load_shades(rng, colour)
    heap = str(rng.choice(["#8a5a34", "#d2a45c", "#6a6f76"]))
    top = rng.uniform(39, 42)
    peak = top - rng.uniform(15, 19)
    mound = blob(
        f"M9 {top + 2} Q16 {peak + 8} 24 {peak + 4} Q33 {peak - 4} 42 {peak + 5} "
        f"Q52 {peak + 7} {right - 3} {top + 2} Z",
        heap,
    )
    bed = polygon([(4, top), (right, top), (right - 2, 66), (11, 66)], shade)
    ribs = "".join(rectangle((x, top + 3), (3.4, 21), dark, 1) for x in (19.0, 32.0, 45.0))
    rim = rectangle((3, top - 1), (right - 3, 6), colour.fill, 2)
    return mound + bed + ribs + rim


def draw_delivery_truck(rng: np.random.Generator, colour: Colour) -> str:
    """Small rounded step-van all in the colour, with a parcel or an arrow on a white panel."""
    roof = rng.uniform(24, 28)
    brow = rng.uniform(72, 75)
    body = blob(
        f"M8 72 L8 {roof + 6} Q8 {roof} 14 {roof} L{brow - 4} {roof} "
        f"Q{brow + 1} {roof} {brow + 2.5} {roof + 5} "
        f"L82 51 L88 52.5 Q93 54 93 60 L93 69 Q93 72 90 72 Z",
        colour.fill,
    )
    skirt = rectangle((8, 66), (85.5, 6), colour.dark, 2.5)
    shine = line([(14.5, roof + 3.4), (brow - 5, roof + 3.4)], colour.light, 3.2)
    glass = blob(f"M62 {roof + 9} L{brow - 0.5} {roof + 9} L78.2 51 L62 51 Z", _glass(colour))
    lamps = ellipse((89.8, 60.5), (3.2, 3.4), LAMP) + rectangle((7, 58), (4, 6.5), TAIL_LAMP, 1.5)
    door = rectangle((63, 56), (8, 3.2), colour.dark, 1.5)
    radius = rng.uniform(8.8, 9.8)
    wheels = "".join(_wheel(x, radius, arch=colour.dark) for x in (25.0, 76.0))
    return body + skirt + shine + glass + _sign(rng, colour, roof + 9) + door + lamps + wheels


def _sign(rng: np.random.Generator, colour: Colour, top: float) -> str:
    """Panel on the van's side with a taped parcel or a thick arrow."""
    panel = WHITE if colour.name != "white" else "#7fa6c9"
    low = 58.0
    middle = (top + low) / 2
    sheet = rectangle((15, top), (41, low - top), panel, 3)
    if rng.random() < 0.6:
        side = rng.uniform(17, 19)
        x, y = 35.5 - side / 2, middle - side / 2
        parcel = rectangle((x, y), (side, side), "#b9814a", 1.5)
        parcel += rectangle((x, y), (side, 5), "#8f5f33")
        return sheet + parcel + rectangle((33.2, y), (4.6, side * 0.55), "#f3dcae")
    ink = {"white": WHITE, "yellow": colour.dark}.get(colour.name, colour.fill)
    shaft = rectangle((20, middle - 3.2), (18, 6.4), ink)
    return sheet + shaft + polygon([(36, middle - 9.5), (51, middle), (36, middle + 9.5)], ink)


def _wheel(x: float, radius: float, arch: str | None = None) -> str:
    """Wheel standing on the ground, with a hub; `arch` paints the wheel arch behind it."""
    centre = (x, GROUND - radius)
    back = circle(centre, radius + 2, arch) if arch else ""
    return back + circle(centre, radius, TYRE) + circle(centre, radius * 0.45, HUB)


def _glass(colour: Colour) -> str:
    """Window shade that stands out from the body's colour."""
    return GLASS if colour.name in ("white", "yellow", "orange", "gray") else PALE_GLASS


def _accent(rng: np.random.Generator, colour: Colour) -> str:
    """Tail-fin shade: vivid on a white airplane; a lighter, darker or white one on others."""
    if colour.name == "white":
        return str(rng.choice(["#d8262c", "#2459c9", "#2f9e44", "#f07f1d"]))
    return str(rng.choice([colour.dark, colour.light, WHITE]))
