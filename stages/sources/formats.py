"""Which files are pictures that are read, and what the others are, from how they begin."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from stages.config.mistakes import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
"""Pillow's names of what is read: pictures, as people have them, that look the same everywhere."""
OTHERS = ("ICO", "ICNS", "EPS", "WMF", "PSD", "DDS", "QOI", "PCX", "SGI", "HDF5", "FITS")
"""Of what else Pillow knows, the names that tell their owner something."""
NUM_HEAD_BYTES = 4096
NUM_MAGIC_BYTES = 16


class Cause(NamedTuple):
    """Why a file is no picture, and what makes it one; "" where nothing does."""

    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """As a note of it reads."""
        return f"{self.what}: {self.remedy}" if self.remedy else self.what


SAVE = "save it as PNG or JPEG"
STAND_INS = {
    rb"version https://git-lfs": Cause("git-lfs pointer, not the file", "run `git lfs pull`"),
    rb"(\.\./)*(\.git)?/annex/objects/": Cause(
        "git-annex pointer, not the file", "run `git annex get .`"
    ),
    rb"(\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<head|<\?xml)": Cause(
        "web page or a server's answer (HTML, XML), not the file", "download it again"
    ),
}
"""How begins what stands for a file of any kind that was not brought here."""
KINDS = {
    rb"\Z": Cause("empty file"),
    rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)": Cause("HEIC, which is not read", SAVE),
    rb"\xff\x0a|\0\0\0\x0cJXL ": Cause("JPEG XL, which is not read", SAVE),
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!.*?>\s*)*<svg\b": Cause(
        "SVG, which is not read", SAVE
    ),
    rb"%!PS": Cause("PostScript, which is not read", SAVE),
    rb"%PDF": Cause("PDF, which is not read", SAVE),
    **STAND_INS,
    rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|.{257}ustar": Cause("archive", "unpack it"),
    rb"PAR1": Cause("parquet file", "set data.source to parquet"),
}
"""How files begin that others show as pictures, or that stand for them or hold them."""


def explain_unreadable(head: bytes) -> Cause:
    """What a file is that is not read as a picture, from its first bytes."""
    for pattern, cause in KINDS.items():
        if re.match(pattern, head, re.DOTALL):
            return cause
    if _is_text(head):  # which may begin as BMP and PPM do
        return Cause("no picture of a known format")
    Image.init()
    for kind in (*FORMATS, *OTHERS):
        if _is_accepted(kind, head[:NUM_MAGIC_BYTES]):
            if kind in FORMATS:
                return Cause(f"damaged or cut off {kind}", "copy or download it again")
            return Cause(f"{kind}, which is not read", SAVE)
    return Cause("no picture of a known format")


def refuse_stand_in(head: bytes, path: Path) -> None:
    """Refuse what was put in the place of a file, as git-lfs does, by its first bytes."""
    for pattern, cause in STAND_INS.items():
        if re.match(pattern, head):
            raise UserError(f"{path}: {cause}")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut in two
            return False
        text = head[: error.start].decode()
    return text.isprintable() or all(c.isprintable() or c.isspace() for c in text)


def _is_accepted(kind: str, magic: bytes) -> bool:
    _, accept = Image.OPEN.get(kind, (None, None))
    with suppress(Exception):  # of any type: the bytes are of any kind
        return bool(accept and accept(magic))
    return False
