"""Picture grids: for each prompt or class the baseline's pictures above the fine-tuned ones.

`dvc plots diff` draws a grid at its own size: two of them stand beside each other on a screen of
1,280 px.
"""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from stages.files.images import INK, WHITE
from stages.reporting.blocks import Block, Pair
from stages.reporting.words import shorten

PAIRS_A_LINE = 8
CELL_PX = 64  # the tiny base's pictures, pixel by pixel
GAP_PX = 4
BAR_PX = 4
MARGIN_PX = 12
LABEL_PX = 24
LINE_PX = 2 * CELL_PX + 3 * GAP_PX
BLOCK_GAP_PX = 10
LEGEND_WIDTH_PX = 300
FONT_PX = 13


class Colours(NamedTuple):
    """The colours of the two variants."""

    baseline: str
    finetuned: str


def draw_grid(blocks: Sequence[Block], colours: Colours) -> Image.Image:
    """Lay out blocks below each other, under a legend; RGB, at most 568 px wide."""
    lines = [_cut_lines(block.pairs) for block in blocks]
    num_cells = min(PAIRS_A_LINE, max((len(block.pairs) for block in blocks), default=0))
    width = max(LEGEND_WIDTH_PX, 2 * MARGIN_PX + BAR_PX + num_cells * (GAP_PX + CELL_PX))
    height = 2 * MARGIN_PX + LABEL_PX + len(blocks) * (LABEL_PX + BLOCK_GAP_PX)
    grid = Image.new("RGB", (width, height + LINE_PX * sum(map(len, lines))), WHITE)
    legend = (("above: baseline", colours.baseline), ("below: fine-tuned", colours.finetuned))
    for number, (label, colour) in enumerate(legend):
        left = MARGIN_PX + number * LEGEND_WIDTH_PX // 2
        _draw_bar(grid, (left, MARGIN_PX), FONT_PX, colour)
        _write(grid, (left + 2 * BAR_PX, MARGIN_PX), label)
    top = MARGIN_PX + LABEL_PX
    for block, block_lines in zip(blocks, lines, strict=True):
        _write(grid, (MARGIN_PX, top), shorten(block.label))
        top += LABEL_PX
        for line in block_lines:
            _draw_line(grid, line, top, colours)
            top += LINE_PX
        top += BLOCK_GAP_PX
    return grid


def fit_cell(image: Image.Image) -> Image.Image:
    """Fill a cell: whole pixels for a small picture, a smooth reduction for a large one."""
    is_small = max(image.size) <= CELL_PX
    resample = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    return image.resize((CELL_PX, CELL_PX), resample)


def _cut_lines(pairs: Sequence[Pair]) -> list[Sequence[Pair]]:
    return [pairs[n : n + PAIRS_A_LINE] for n in range(0, len(pairs), PAIRS_A_LINE)]


def _draw_line(grid: Image.Image, pairs: Sequence[Pair], top: int, colours: Colours) -> None:
    for variant in Colours._fields:
        _draw_bar(grid, (MARGIN_PX, top), CELL_PX, getattr(colours, variant))
        for column, pair in enumerate(pairs):
            left = MARGIN_PX + BAR_PX + GAP_PX + column * (CELL_PX + GAP_PX)
            grid.paste(fit_cell(getattr(pair, variant)), (left, top))
        top += CELL_PX + GAP_PX


def _draw_bar(grid: Image.Image, corner: tuple[int, int], height: int, colour: str) -> None:
    left, top = corner
    ImageDraw.Draw(grid).rectangle((left, top, left + BAR_PX - 1, top + height - 1), fill=colour)


def _write(grid: Image.Image, corner: tuple[int, int], text: str) -> None:
    font = ImageFont.load_default(size=FONT_PX)
    ImageDraw.Draw(grid).text(corner, text, fill=INK, font=font)
