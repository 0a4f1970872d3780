"""What a source offers: a list of its pictures, each decoded only when it is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image


class Entry(NamedTuple):
    """A picture before it is decoded: where it is, and its class or its caption or both."""

    source_id: str
    class_name: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Source:
    """Entries in a stable order; `load_image(i)` decodes the picture of entry i to RGB."""

    name: str
    entries: Sequence[Entry]
    load_image: Callable[[int], Image.Image]


def tidy_caption(text: str | None) -> str | None:
    """A caption on one line, or None where there is none."""
    return " ".join((text or "").split()) or None
