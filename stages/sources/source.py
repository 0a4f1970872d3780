"""What a source offers: a list of its pictures, each decoded only when it is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image

from stages.config.params import is_blank
from stages.sources.decoding import decode_picture
from stages.sources.notes import Note

NO_CAPTION = "no caption: one of prepare.caption_templates is taken"


class Entry(NamedTuple):
    """A picture before it is decoded: where it is, and its class or its caption or both."""

    source_id: str
    class_name: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Source:
    """Entries in a stable order; `load_image(i)` decodes the picture of entry i to RGB.

    Attributes:
        notes: What was left out, and what was found out about pictures that were decoded.
        is_drawn: Whether the project draws the pictures: none is damaged, or there twice.
        name_place: Says of entry i where it is, if its id does not.
    """

    name: str
    entries: Sequence[Entry]
    load_image: Callable[[int], Image.Image]
    notes: list[Note] = field(default_factory=list)
    is_drawn: bool = False
    name_place: Callable[[int], str] | None = None

    def show_place(self, index: int) -> str:
        """Where entry i is, to someone who looks for it."""
        return self.name_place(index) if self.name_place else self.entries[index].source_id


def build_loader(
    entries: Sequence[Entry],
    read: Callable[[int], bytes],
    name: Callable[[int], str],
    notes: list[Note],
) -> Callable[[int], Image.Image]:
    """Decode what `read(i)` gives; messages call it `name(i)`, and remarks go to the notes."""

    def load_image(index: int) -> Image.Image:
        image, remarks = decode_picture(read(index), name(index))
        notes.extend(Note(entries[index].source_id, remark) for remark in remarks)
        return image

    return load_image


def tidy_caption(text: str | None) -> str | None:
    """A caption on one line, or None where there is none."""
    return None if is_blank(text or "") else " ".join((text or "").split())
