"""Our own pictures in and out: encoded bytes, PNG files, contact sheets. In memory: PIL, RGB.

Those from outside, of any format, are decoded in stages/sources/decoding.py.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file

WHITE, INK = "#ffffff", "#1f2328"
MARGIN_PX, GAP_PX = 16, 4


def decode_image(data: bytes, name: str) -> Image.Image:
    """Decode a picture that a stage wrote, to RGB.

    Raises:
        UserError: The bytes of `name` are no whole picture.
    """
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except UnidentifiedImageError:
        raise UserError(f"{name}: not a picture of a known format") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{name}: not a whole picture ({error})") from None


def encode_png(image: Image.Image) -> bytes:
    """The bytes of a picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(image: Image.Image, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with replace_file(path) as partial:
        partial.write_bytes(encode_png(image))


def resize_to_square(image: Image.Image, side_px: int) -> Image.Image:
    """Crop the middle square, if it is not one, and resize it: bilinear, antialiased."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((side_px, side_px), Image.Resampling.BILINEAR)


def draw_sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], tile_px: int) -> Image.Image:
    """Lay out rows of square pictures, each row with its label on the left.

    Pictures are enlarged to `tile_px` without smoothing, so that a small one shows its pixels.
    """
    font = ImageFont.load_default(size=max(12, tile_px // 5))
    labels_px = MARGIN_PX + max((round(font.getlength(label)) for label, _ in rows), default=0)
    num_columns = max((len(images) for _, images in rows), default=0)
    width = MARGIN_PX + labels_px + num_columns * (tile_px + GAP_PX) - GAP_PX + MARGIN_PX
    height = 2 * MARGIN_PX + len(rows) * (tile_px + GAP_PX) - GAP_PX
    sheet = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(sheet)
    for row, (label, images) in enumerate(rows):
        top = MARGIN_PX + row * (tile_px + GAP_PX)
        draw.text((labels_px, top + tile_px / 2), label, fill=INK, font=font, anchor="rm")
        for column, image in enumerate(images):
            left = labels_px + MARGIN_PX + column * (tile_px + GAP_PX)
            sheet.paste(_fit(image, tile_px), (left, top))
    return sheet


def _fit(image: Image.Image, tile_px: int) -> Image.Image:
    is_small = image.width <= tile_px
    how = Image.Resampling.NEAREST if is_small else Image.Resampling.BILINEAR
    return image.resize((tile_px, tile_px), how)
