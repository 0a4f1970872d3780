"""Draw a captioned picture: a pure function of (look, thing, seed).

Two looks: `illustration` is crisp, `photo` has photographic colours, clutter, blur and noise and is
drawn down to 32 px, the size of CIFAR-10's pictures.
"""

import io
import zlib
from typing import Literal, NamedTuple

import numpy as np
import resvg_py
from PIL import Image, ImageFilter

from stages.config.mistakes import UserError
from stages.files.captions import fill_template
from stages.sources.drawing.canvas import COLOURS, ellipse, group, rectangle
from stages.sources.drawing.settings import SETTINGS
from stages.sources.drawing.things import THINGS, Thing

Look = Literal["illustration", "photo"]
LOOKS: tuple[Look, ...] = ("illustration", "photo")
SIZE_PX = {"illustration": 64, "photo": 32}
AIRBORNE = ("sky",)
CLOSE_UP_SCALE = 1.0
TEMPLATES = (
    "a photo of a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "a product photo of a {}",
    "a {}",
    "a {}",
)


class Picture(NamedTuple):
    """A drawn picture with the words that are true of it."""

    image: Image.Image
    thing: str
    colour: str | None
    setting: str
    caption: str


def draw_picture(look: Look, name: str, seed: int) -> Picture:
    """Draw one of the `THINGS` in one of the two `LOOKS`, 64 px or (photo) 32 px square, RGB.

    Raises:
        UserError: The look or the thing is not one that can be drawn.
    """
    if look not in LOOKS or name not in THINGS:
        raise UserError(f"cannot draw {name!r} as {look!r}; things: {list(THINGS)}; looks: {LOOKS}")
    thing = THINGS[name]
    rng = np.random.default_rng([seed, LOOKS.index(look), zlib.crc32(name.encode())])
    colour = str(rng.choice(thing.colours)) if thing.colours else None
    setting = str(rng.choice(thing.settings))
    scale = rng.uniform(0.84, 1.06)
    caption = _word_caption(rng, thing, colour, setting, is_close_up=scale > CLOSE_UP_SCALE)
    svg = compose(rng, thing, colour, setting, scale, clutter=6 if look == "photo" else 0)
    image = render(svg)
    if look == "photo":
        image = _photograph(rng, image)
    return Picture(image, name, colour, setting, caption)


def compose(
    rng: np.random.Generator,
    thing: Thing,
    colour: str | None,
    setting: str,
    scale: float,
    clutter: int,
) -> str:
    """SVG of a thing in a setting, moved, turned and mirrored at random; clutter behind it."""
    background = SETTINGS[setting][1](rng)
    fragment = thing.draw(rng, COLOURS[colour or "brown"])
    lift = 0.0 if setting in AIRBORNE else 50 - 50 * scale  # smaller things stay on the ground
    x, y = rng.uniform(-4, 4), rng.uniform(-2, 2) + lift
    mirror = -1 if thing.has_sides and rng.random() < 0.5 else 1
    turn = rng.uniform(-thing.max_turn_deg, thing.max_turn_deg)
    placed = group(
        fragment,
        f"translate({50 + x:.2f} {50 + y:.2f}) rotate({turn:.2f}) "
        f"scale({mirror * scale:.3f} {scale:.3f}) translate(-50 -50)",
    )
    return background + _scatter_clutter(rng, clutter) + placed


def _scatter_clutter(rng: np.random.Generator, count: int) -> str:
    shapes = []
    for _ in range(rng.integers(0, count + 1)):
        tint = "#{:02x}{:02x}{:02x}".format(*rng.integers(60, 200, size=3))
        centre = (rng.uniform(0, 100), rng.uniform(20, 100))
        shape, low, high = (ellipse, 3, 16) if rng.random() < 0.5 else (rectangle, 5, 26)
        shapes.append(shape(centre, tuple(rng.uniform(low, high, size=2)), tint))
    return f'<g opacity="0.55">{"".join(shapes)}</g>'


def render(fragment: str) -> Image.Image:
    """A fragment of SVG as a picture, 64 px square, RGB."""
    size = SIZE_PX["illustration"]
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" '
        f'width="{size}" height="{size}">{fragment}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")


def _photograph(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """What a cheap camera makes of it: uneven light, a cast, less colour, blur, 32 px, noise."""
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
    small = image.resize((SIZE_PX["photo"],) * 2, Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32) / 255
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * rng.uniform(0.45, 0.9)  # saturation
    values = 0.5 + (values - 0.5) * rng.uniform(0.65, 1.05)  # contrast
    values = values * rng.uniform(0.93, 1.06, size=3)  # white balance
    ramp = np.linspace(-1, 1, SIZE_PX["photo"], dtype=np.float32)
    light = rng.uniform(-0.1, 0.1) * ramp[:, None] + rng.uniform(-0.1, 0.1) * ramp
    values = values + light[..., None]
    values = values + rng.uniform(-0.08, 0.05)  # exposure
    values = values + rng.normal(0, rng.uniform(0.01, 0.045), size=values.shape)
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def _word_caption(
    rng: np.random.Generator, thing: Thing, colour: str | None, setting: str, *, is_close_up: bool
) -> str:
    template = str(rng.choice(TEMPLATES))
    if is_close_up and rng.random() < 0.5:
        template = "a close-up photo of a {}"
    words = thing.name
    if colour and rng.random() < 0.6:
        words = f"{colour} {words}"
    if rng.random() < 0.5:
        # A white background is a plain one too, so both words are learned from it.
        is_called_plain = setting == "white" and rng.random() < 0.3
        words = f"{words} {SETTINGS['plain' if is_called_plain else setting][0]}"
    return fill_template(template, words)
