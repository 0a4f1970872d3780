"""Which pictures are shown: blocks of pairs, baseline and fine-tuned of the same noise."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from PIL import Image


class Pair(NamedTuple):
    """Two pictures of the same prompt and noise, and their change of CLIP cosine."""

    baseline: Image.Image
    finetuned: Image.Image
    prompt: str
    difference: float


class Block(NamedTuple):
    """The pairs that are shown together, under one label."""

    label: str
    pairs: Sequence[Pair]


ReadPicture = Callable[[str, str], Image.Image]
"""(variant, file name) -> picture."""


def build_blocks(
    pairs: pd.DataFrame, label: str, num_per_prompt: int, read_picture: ReadPicture
) -> list[Block]:
    """A block for each value of the column `label`, the first pictures of each prompt in it.

    Args:
        pairs: Rows of `pair_scores`, those to show.
        label: "class" or "prompt".
        num_per_prompt: Pictures of each prompt, by index.
        read_picture: Reads one picture.
    """
    shown = pairs[pairs["index"] < num_per_prompt]
    return [
        Block(str(name), [_build_pair(row, read_picture) for row in rows.to_dict("records")])
        for name, rows in shown.groupby(label, sort=False)
    ]


def choose_evenly(classes: Sequence[str], num_rows: int) -> list[int]:
    """So many row numbers, by class: the first of each class, then the second, and so on."""
    table = pd.Series(list(classes))
    order = table.groupby(table).cumcount().sort_values(kind="stable").index
    return sorted(order[:num_rows], key=lambda row: (classes[row], row))


def _build_pair(row: dict, read_picture: ReadPicture) -> Pair:
    baseline, finetuned = (read_picture(v, row["file_name"]) for v in ("baseline", "finetuned"))
    return Pair(baseline, finetuned, row["prompt"], row["difference"])
