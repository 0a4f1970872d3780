"""SVG fragments: the few shapes that every drawing is made of, and the named colours.

A drawing lives in a box of 100 x 100 units, x to the right and y down. A fragment is a plain string
of SVG elements; fragments are joined with `+` and painted in order, the first one at the back.
"""

from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float]


class Colour(NamedTuple):
    """A named colour with a darker and a lighter shade of it, each "#rrggbb"."""

    name: str
    fill: str
    dark: str
    light: str


COLOURS = {
    colour.name: colour
    for colour in (
        Colour("red", "#d8262c", "#9c171c", "#f0686a"),
        Colour("orange", "#f07f1d", "#b85a0c", "#fbb069"),
        Colour("yellow", "#f5c91f", "#bf960c", "#fde27a"),
        Colour("green", "#2f9e44", "#1d6b2d", "#74cc84"),
        Colour("blue", "#2459c9", "#163a8a", "#6c97ee"),
        Colour("purple", "#7f3bb5", "#562480", "#b27fdc"),
        Colour("brown", "#8a5530", "#5b361c", "#bb8a63"),
        Colour("black", "#2c2e36", "#14151a", "#595d6b"),
        Colour("white", "#f2f2ee", "#b9bcc0", "#ffffff"),
        Colour("gray", "#8b9199", "#5d636b", "#bcc2c9"),
    )
}


def ellipse(centre: Point, radii: Point, fill: str, angle_deg: float = 0.0) -> str:
    """Filled ellipse, turned clockwise by `angle_deg` about its centre."""
    (x, y), (rx, ry) = centre, radii
    turn = f' transform="rotate({angle_deg:.2f} {x:.2f} {y:.2f})"' if angle_deg else ""
    return f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{rx:.2f}" ry="{ry:.2f}" fill="{fill}"{turn}/>'


def circle(centre: Point, radius: float, fill: str) -> str:
    """Filled circle."""
    return ellipse(centre, (radius, radius), fill)


def rectangle(corner: Point, size: Point, fill: str, radius: float = 0.0) -> str:
    """Filled rectangle from its top-left corner, with rounded corners of `radius`."""
    (x, y), (w, h) = corner, size
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" '
        f'rx="{radius:.2f}" fill="{fill}"/>'
    )


def polygon(points: Sequence[Point], fill: str) -> str:
    """Filled polygon."""
    corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f'<polygon points="{corners}" fill="{fill}"/>'


def blob(data: str, fill: str) -> str:
    """Filled area of any outline; `data` is SVG path data ("M10 20 C...Z")."""
    return f'<path d="{data}" fill="{fill}"/>'


def line(points: Sequence[Point], stroke: str, width: float) -> str:
    """Open polyline with round ends and joins, `width` units thick: limbs, masts, laces."""
    corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return (
        f'<polyline points="{corners}" fill="none" stroke="{stroke}" stroke-width="{width:.2f}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def curve(data: str, stroke: str, width: float) -> str:
    """Open curve with round ends; `data` is SVG path data: tails, handles, smiles."""
    return (
        f'<path d="{data}" fill="none" stroke="{stroke}" stroke-width="{width:.2f}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def group(fragment: str, transform: str) -> str:
    """The fragment under an SVG transform, such as "translate(3 4) rotate(5)"."""
    return f'<g transform="{transform}">{fragment}</g>'


def fit(figure: str) -> str:
    """The figure a little smaller, with a margin; the point (50, 88), where it rests, stays put."""
    return group(figure, "translate(3.5 6.16) scale(0.93)")


def beside(fragment: str) -> str:
    """The fragment and its mirror image at the other side of the box."""
    return fragment + group(fragment, "translate(100 0) scale(-1 1)")
