"""Any kind of pixels to RGB as a viewer shows them: sRGB, transparent parts on white."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from stages.config.mistakes import UserError

WHITE = "#ffffff"
SRGB_TOLERANCE = 2
"""Levels by which a profile may move colours and still be sRGB: many write it, each in its way."""
BROKEN_PROFILE = "damaged or unfit colour profile: not used"
GREY = ("1", "L", "LA", "La")
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode of the pixels that a profile is for."""

LEVELS = {"L;2": 85, "L;4": 17}
"""By which Pillow multiplies grey of 2 and 4 bits."""


def convert_to_rgb(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """Convert a picture of any mode to RGB; with remarks on what was not plain.

    Raises:
        UserError: Its brightness has no white and black that all viewers agree on.
    """
    profile = image.info.get("icc_profile")
    image = _reduce_depth(image, name)
    alpha, what = None, "one colour all over"
    if image.has_transparency_data:
        is_grey, image = image.mode in GREY, image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if is_grey else "RGB")
        what = what if alpha.getbbox() else "wholly transparent"
    rgb, remarks = _apply_profile(image, profile)
    if alpha:
        rgb.putalpha(alpha)
        rgb = Image.alpha_composite(Image.new("RGBA", rgb.size, WHITE), rgb).convert("RGB")
    return rgb, remarks + ([f"{what}: nothing to see"] if is_flat(rgb) else [])


def scale_transparent_colour(image: Image.Image) -> None:
    """Put a PNG's transparent colour into the levels of its pixels, which Pillow 13 scales alone.

    How many bits a channel has is known until the picture is loaded.
    """
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", [])
    pixels = str(tiles[0].args) if tiles else ""
    if isinstance(key, int) and pixels in LEVELS:
        image.info["transparency"] = key * LEVELS[pixels]
    if isinstance(key, tuple) and pixels == "RGB;16B":  # of which the upper 8 bits are read
        image.info["transparency"] = tuple(level >> 8 for level in key)


def is_flat(image: Image.Image) -> bool:
    """Whether an RGB picture is of one colour."""
    return image.getcolors(1) is not None


def _reduce_depth(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > np.iinfo(np.uint16).max:
            raise UserError(f"{name}: 32 bits a channel; save it with 8 or 16")
        grey = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
        if isinstance(key := image.info.get("transparency"), int):
            grey.putalpha(Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8)))
        return grey
    if image.mode == "F":
        raise UserError(f"{name}: floating-point brightness; save it with 8 or 16 bits a channel")
    return image


def _apply_profile(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """The picture in sRGB. A viewer that meets a profile it cannot use shows it without."""
    if image.mode == "LAB":
        transform = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return transform.apply(image), []
    if not profile:
        return image.convert("RGB"), []
    try:
        mode, to_srgb = _read_profile(profile)
    except (ImageCms.PyCMSError, OSError, KeyError):
        return image.convert("RGB"), [BROKEN_PROFILE]
    is_fit = (mode == "CMYK") == (image.mode == "CMYK") and (mode != "L" or image.mode in GREY)
    if to_srgb is None or not is_fit:
        return image.convert("RGB"), [] if is_fit else [BROKEN_PROFILE]
    return to_srgb.apply(image.convert(mode)), []


@lru_cache(maxsize=16)
def _read_profile(data: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode that a profile is for, and what makes sRGB of it; None if it is that already."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    mode = SPACES[profile.profile.xcolor_space]
    to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "CMYK":
        return mode, to_srgb
    levels = np.linspace(0, 255, 18, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)
    probe = Image.fromarray(colours if mode == "RGB" else levels[None])
    moved = np.asarray(to_srgb.apply(probe)) - np.asarray(probe.convert("RGB"), dtype=int)
    return mode, None if np.abs(moved).max() <= SRGB_TOLERANCE else to_srgb
