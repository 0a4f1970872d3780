"""Pictures from outside: encoded bytes to RGB, as a viewer shows them, or a line that says why not.

What is not wrong, but not plain either, is a remark: an animation, metadata that is damaged.
"""

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from stages.config.mistakes import UserError
from stages.sources.colours import convert_to_rgb, is_flat, scale_transparent_colour
from stages.sources.formats import FORMATS, NUM_HEAD_BYTES, explain_unreadable
from stages.sources.walking import read_file

ORIENTATION = 0x0112
"""EXIF's tag, whose values 2 to 8 say how the picture is to be turned."""
EMPTY_EXIF = b"Exif\0\0"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Tools write how a picture was made into its text: viewers, too, show it whatever the text is.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
LEAST_SIDE_PX, LARGEST_RATIO = 4, 16
"""A picture with a shorter side, or that is longer for its width, is no picture to learn from."""


class Decoded(NamedTuple):
    """A picture, RGB and upright, and remarks on its file."""

    image: Image.Image
    remarks: list[str]


def decode_picture(data: bytes, name: str) -> Decoded:
    """Decode a picture of `FORMATS`: the first frame, upright, transparent parts on white.

    Raises:
        UserError: The bytes of `name` are no whole picture, or one that nothing is learned from.
    """
    try:
        with _quiet():
            return _decode(Image.open(io.BytesIO(data), formats=FORMATS), name)
    except UserError:
        raise
    except UnidentifiedImageError:
        cause = explain_unreadable(data[:NUM_HEAD_BYTES])
        remedy = cause.remedy or "replace it"
        raise UserError(f"{name}: {cause.what}; {remedy}, or take it out") from None
    except Image.DecompressionBombError as error:
        found, limit = (f"{int(number):,}" for number in re.findall(r"\d+", str(error))[:2])
        raise UserError(
            f"{name}: a picture of {found} pixels; at most {limit} are read; make it smaller"
        ) from None
    except Exception as error:  # of any type: Pillow's readers meet bytes of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        what = f"not a whole picture ({reason}); replace it"
        if "MAX_TEXT" in reason:
            what = f"more than {PngImagePlugin.MAX_TEXT_MEMORY:,} bytes of text; save it without"
        raise UserError(f"{name}: {what}, or take it out") from None


def judge_file(path: Path) -> str:
    """Why a file is no picture, from how it begins; "" if it may be one.

    Raises:
        UserError: It cannot be read.
    """
    head = read_file(path, NUM_HEAD_BYTES)
    try:
        with _quiet(), Image.open(path, formats=FORMATS):
            return ""
    except Image.DecompressionBombError:
        return ""  # a picture, if too large a one
    except Exception:  # of any type: text that begins like a picture, too
        return str(explain_unreadable(head))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's own words off the screen: what matters of them is said in ours."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decode(image: Image.Image, name: str) -> Decoded:
    _check_shape(image, name)
    scale_transparent_colour(image)
    image.load()
    first = image.copy()
    orientation, remarks = _read_orientation(image)
    rgb, colour_remarks = convert_to_rgb(first, name)
    remarks += colour_remarks + _look_at_frames(image, rgb, name)
    return Decoded(rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb, remarks)


def _check_shape(image: Image.Image, name: str) -> None:
    shorter, longer = sorted(image.size)
    if shorter < LEAST_SIDE_PX or longer > LARGEST_RATIO * shorter:
        raise UserError(
            f"{name}: {image.width} x {image.height} px; a picture should have {LEAST_SIDE_PX} px "
            f"a side or more, and be at most {LARGEST_RATIO} times as long as wide; crop it, or "
            "take it out"
        )


def _read_orientation(image: Image.Image) -> tuple[int, list[str]]:
    """The orientation, 1 where there is none, and a remark where the metadata is damaged."""
    orientation, raw = 1, image.info.get("exif") or b""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exif = Image.Exif()
            exif.load(raw)
            exif.tobytes()  # reads all of it
        is_whole = orientation in (1, *TURNS) and (len(exif) > 0) == (raw not in (b"", EMPTY_EXIF))
    except Exception:  # of any type: it is someone else's metadata
        is_whole = False
    return orientation, [] if is_whole else ["damaged EXIF: used as far as it is readable"]


def _look_at_frames(image: Image.Image, first: Image.Image, name: str) -> list[str]:
    """A remark on a file of several pictures.

    Raises:
        UserError: The first is a thumbnail, or blank.
    """
    num_frames = getattr(image, "n_frames", 1)
    if num_frames == 1 or image.format == "MPO":  # a camera's photo and its own thumbnail
        return []
    if image.format == "TIFF":
        for number in range(1, num_frames):
            image.seek(number)
            if image.width * image.height > first.width * first.height:
                raise UserError(
                    f"{name}: opens at {first.width} x {first.height} px, but page {number + 1} "
                    f"has {image.width} x {image.height}; save the page you mean as a file"
                )
        return [f"{num_frames} pages: the first is taken"]
    if is_flat(first):
        raise UserError(
            f"{name}: the first of {num_frames} frames is blank; save the frame you mean as a file"
        )
    return ["animation: its first frame is taken"]
