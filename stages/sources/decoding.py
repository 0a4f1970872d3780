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

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from stages.config.mistakes import UserError
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
LEAST_SIDE_PX, LARGEST_RATIO = 4, 16
"""A picture with a shorter side, or that is longer for its width, is no picture to learn from."""
UNREADABLE = {
    "HEIC": re.compile(rb"^....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", re.DOTALL),
    "JPEG XL": re.compile(rb"^(\xff\x0a|\0\0\0\x0cJXL )"),
    "SVG": re.compile(rb"^(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!.*?>\s*)*<svg\b", re.DOTALL),
}
"""How files begin that others show as pictures, and Pillow does not read."""
NUM_HEAD_BYTES = 4096
WHITE = "#ffffff"


class Decoded(NamedTuple):
    """A picture, RGB and upright, and remarks on its file."""

    image: Image.Image
    remarks: list[str]


def decode_picture(data: bytes, name: str) -> Decoded:
    """Decode whatever Pillow reads: the first frame, upright, transparent parts on white.

    Raises:
        UserError: The bytes of `name` are no whole picture, or one that nothing is learned from.
    """
    try:
        with _quiet():
            return _decode(Image.open(io.BytesIO(data)), name)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name}: {explain_unreadable(data)}; replace it, or take it out") from None
    except Image.DecompressionBombError as error:
        found, limit = (f"{int(number):,}" for number in re.findall(r"\d+", str(error))[:2])
        raise UserError(
            f"{name}: a picture of {found} pixels; at most {limit} are read; make it smaller"
        ) from None
    except Exception as error:  # of any type: Pillow's readers meet bytes of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: not a whole picture ({reason}); replace it, or take it out"
        ) from None


def judge_file(path: Path) -> str:
    """Why a file is no picture, from how it begins; "" if it may be one.

    Raises:
        UserError: It cannot be read.
    """
    head = read_file(path, NUM_HEAD_BYTES)
    try:
        with _quiet(), Image.open(path):
            return ""
    except Exception:  # of any type: text that begins like a picture, too
        return explain_unreadable(head)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's own words off the screen: what matters of them is said in ours."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decode(image: Image.Image, name: str) -> Decoded:
    _check_shape(image, name)
    image.load()
    first = image.copy()
    orientation, remarks = _read_orientation(image)
    rgb = _convert(first, name)
    remarks += _look_at_frames(image, rgb, name)
    return Decoded(rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb, remarks)


def explain_unreadable(head: bytes) -> str:
    """What Pillow doesn't read, from how it begins, and what to do."""
    for kind, pattern in UNREADABLE.items():
        if pattern.match(head):
            return f"{kind}, which is not read: save it as PNG or JPEG"
    return "no picture of a known format"


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


def _convert(image: Image.Image, name: str) -> Image.Image:
    """Any mode to RGB."""
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > np.iinfo(np.uint16).max:
            raise UserError(f"{name}: 32 bits a channel; save it with 8 or 16")
        return Image.fromarray(np.rint(levels / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UserError(f"{name}: floating-point brightness; save it with 8 or 16 bits a channel")
    if image.mode == "LAB":
        return _apply_profile(image, ImageCms.createProfile("LAB"))
    if image.mode == "CMYK" and (profile := image.info.get("icc_profile")):
        try:
            return _apply_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            return image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return image.convert("RGB")


def _apply_profile(image: Image.Image, profile: object) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # None is of what is converted in place
    return converted


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
    if all(low == high for low, high in first.getextrema()):
        raise UserError(
            f"{name}: the first of {num_frames} frames is blank; save the frame you mean as a file"
        )
    return ["animation: its first frame is taken"]
