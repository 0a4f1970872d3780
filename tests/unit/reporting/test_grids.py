from PIL import Image

from stages.reporting.blocks import Block, Pair
from stages.reporting.grids import (
    BAR_PX,
    CELL_PX,
    GAP_PX,
    LABEL_PX,
    MARGIN_PX,
    Colours,
    draw_grid,
    fit_cell,
)

COLOURS = Colours("#112233", "#aa5500")


def make_block(num_pairs: int) -> Block:
    baseline, finetuned = (Image.new("RGB", (64, 64), name) for name in ("blue", "red"))
    return Block("cat", [Pair("cat_0.png", baseline, finetuned, "a cat", 0.1, 0)] * num_pairs)


def test_baseline_stands_above_finetuned_behind_bars_of_their_colours():
    grid = draw_grid([make_block(2)], COLOURS)
    top = MARGIN_PX + 2 * LABEL_PX
    middle = top + CELL_PX // 2
    below = middle + CELL_PX + GAP_PX
    left = MARGIN_PX + BAR_PX + GAP_PX
    for x in (left, left + CELL_PX + GAP_PX):
        assert grid.getpixel((x, middle)) == (0, 0, 255)
        assert grid.getpixel((x, below)) == (255, 0, 0)
    assert grid.getpixel((MARGIN_PX, middle)) == (0x11, 0x22, 0x33)
    assert grid.getpixel((MARGIN_PX, below)) == (0xAA, 0x55, 0x00)


def test_two_grids_fit_beside_each_other_however_many_pictures_there_are():
    few, many, twice = (draw_grid([make_block(n)] * 3, COLOURS).size for n in (5, 8, 16))
    assert few[0] < many[0] == twice[0] <= 600
    assert few[1] == many[1] < twice[1]


def test_small_pictures_keep_every_pixel():
    image = Image.effect_noise((32, 32), 80).convert("RGB")
    cell = fit_cell(image)
    assert cell.size == (CELL_PX, CELL_PX)
    assert cell.resize((32, 32), Image.Resampling.NEAREST).tobytes() == image.tobytes()
    assert fit_cell(Image.new("RGB", (512, 512))).size == (CELL_PX, CELL_PX)
