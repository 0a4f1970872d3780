"""Which pictures are shown: blocks of pairs, baseline and fine-tuned of the same noise."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from stages.files.images import decode_image

MAX_BLOCKS = 40
MAX_PROMPTS = 16
"""Of a block: all blocks together are one picture, a grid, which a reader has to open."""


class Pair(NamedTuple):
    """Two pictures of the same prompt and noise, and their change of CLIP cosine."""

    file_name: str
    baseline: Image.Image
    finetuned: Image.Image
    prompt: str
    difference: float
    image_index: int


class Block(NamedTuple):
    """The pairs that are shown together, under one label."""

    label: str
    pairs: Sequence[Pair]


Files = Mapping[str, Mapping[str, bytes]]
"""Variant to file name to encoded picture."""


def build_blocks(
    pictures: pd.DataFrame, label: str, num_per_prompt: int, files: Files
) -> list[Block]:
    """A block for each value of the column `label`, the first pictures of each prompt in it.

    Of more than `MAX_BLOCKS`, and of more than `MAX_PROMPTS` in one, as many are spread evenly.

    Args:
        pictures: Rows of `list_pictures`, those to show.
        label: "class" or "prompt".
        num_per_prompt: Pictures of each prompt, by index.
        files: The pictures of both variants.
    """
    groups = list(pictures[pictures["index"] < num_per_prompt].groupby(label, sort=False))
    blocks = []
    for name, rows in (groups[number] for number in spread_evenly(len(groups), MAX_BLOCKS)):
        prompt_ids = rows["prompt_id"].unique()
        chosen = prompt_ids[spread_evenly(len(prompt_ids), MAX_PROMPTS)]
        shown = rows[rows["prompt_id"].isin(chosen)].to_dict("records")
        blocks.append(Block(str(name), [_build_pair(row, files) for row in shown]))
    return blocks


def spread_evenly(num_items: int, limit: int) -> NDArray[np.int64]:
    """Which of so many items to show, in their order: all, or `limit` at equal distances."""
    return np.linspace(0, num_items, min(num_items, limit), endpoint=False).astype(int)


def choose_evenly(classes: Sequence[str], num_rows: int) -> list[int]:
    """So many row numbers, by class: the first of each class, then the second, and so on."""
    table = pd.Series(list(classes))
    order = table.groupby(table).cumcount().sort_values(kind="stable").index
    return sorted(order[:num_rows], key=lambda row: (classes[row], row))


def _build_pair(row: dict, files: Files) -> Pair:
    name = row["file_name"]
    baseline, finetuned = (
        decode_image(files[variant][name], f"{variant}/{name}")
        for variant in ("baseline", "finetuned")
    )
    return Pair(name, baseline, finetuned, row["prompt"], row["difference"], row["index"])
