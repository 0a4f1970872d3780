"""Picture grids: for each prompt or class the baseline's pictures above the fine-tuned ones."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from stages.reporting.blocks import Block

CELL_PX = 128
GAP_PX = 4
BLOCK_GAP_PX = 28
MARGIN_PX = 24
LABEL_PX = 30
BAR_PX = 6
FONT_PX = 18
PAPER, INK = "#ffffff", "#1f2328"


class Colours(NamedTuple):
    """The colours of the two variants."""

    baseline: str
    finetuned: str


def draw_grid(blocks: Sequence[Block], num_columns: int, colours: Colours) -> Image.Image:
    """Lay out blocks in so many columns, under a legend; RGB."""
    num_pictures = max((len(block.pairs) for block in blocks), default=0)
    block_width = BAR_PX + GAP_PX + num_pictures * (CELL_PX + GAP_PX) - GAP_PX
    block_height = LABEL_PX + 2 * CELL_PX + GAP_PX
    num_rows = -(-len(blocks) // num_columns)
    width = 2 * MARGIN_PX + num_columns * (block_width + BLOCK_GAP_PX) - BLOCK_GAP_PX
    height = 2 * MARGIN_PX + LABEL_PX + num_rows * (block_height + BLOCK_GAP_PX) - BLOCK_GAP_PX
    grid = Image.new("RGB", (width, height), PAPER)
    _draw_legend(grid, colours)
    for number, block in enumerate(blocks):
        row, column = divmod(number, num_columns)
        left = MARGIN_PX + column * (block_width + BLOCK_GAP_PX)
        top = MARGIN_PX + LABEL_PX + row * (block_height + BLOCK_GAP_PX)
        _draw_block(grid, block, (left, top), colours)
    return grid


def fit_cell(image: Image.Image, cell_px: int = CELL_PX) -> Image.Image:
    """Fill a cell: whole pixels for a small picture, a smooth reduction for a large one."""
    is_small = max(image.size) <= cell_px
    resample = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    return image.resize((cell_px, cell_px), resample)


def _draw_block(grid: Image.Image, block: Block, corner: tuple[int, int], colours: Colours) -> None:
    left, top = corner
    draw = ImageDraw.Draw(grid)
    draw.text((left, top + LABEL_PX / 2 - 4), block.label, fill=INK, font=_load_font(), anchor="lm")
    for row, colour in enumerate(colours):
        y = top + LABEL_PX + row * (CELL_PX + GAP_PX)
        draw.rectangle((left, y, left + BAR_PX - 1, y + CELL_PX - 1), fill=colour)
        for column, pair in enumerate(block.pairs):
            x = left + BAR_PX + GAP_PX + column * (CELL_PX + GAP_PX)
            grid.paste(fit_cell((pair.baseline, pair.finetuned)[row]), (x, y))


def _draw_legend(grid: Image.Image, colours: Colours) -> None:
    draw = ImageDraw.Draw(grid)
    x, y = MARGIN_PX, MARGIN_PX
    font = _load_font()
    legend = (("above: baseline", colours.baseline), ("below: fine-tuned", colours.finetuned))
    for label, colour in legend:
        draw.rectangle((x, y - FONT_PX / 2, x + BAR_PX - 1, y + FONT_PX / 2), fill=colour)
        draw.text((x + 12, y), label, fill=INK, font=font, anchor="lm")
        x += 12 + round(font.getlength(label)) + 24


def _load_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=FONT_PX)
