"""Pictures in and out: encoded bytes, PNG files and contact sheets. In memory they are PIL, RGB."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file

WHITE, INK = "#ffffff", "#1f2328"
MARGIN_PX, GAP_PX = 16, 4


def decode_image(data: bytes, name: str) -> Image.Image:
    """Decode a PNG, JPEG or similar to RGB, the right way up, transparent parts on white.

    Raises:
        UserError: The bytes of `name` are no whole picture, or of more than 8 bits a channel.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        image.load()
    except UnidentifiedImageError:
        raise UserError(f"{name}: not a picture of a known format") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: not a whole picture ({error})") from None
    if image.mode.startswith(("I", "F")):
        raise UserError(f"{name}: a picture of mode {image.mode}; expected 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return image.convert("RGB")


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
