"""Which pictures are shown: blocks of pairs, baseline and fine-tuned of the same noise."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from PIL import Image

from stages.artifacts.images import decode_image


class Pair(NamedTuple):
    """Two pictures of the same prompt and noise, and their change of CLIP cosine."""

    file_name: str
    baseline: Image.Image
    finetuned: Image.Image
    prompt: str
    difference: float


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

    Args:
        pictures: Rows of `list_pictures`, those to show.
        label: "class" or "prompt".
        num_per_prompt: Pictures of each prompt, by index.
        files: The pictures of both variants.
    """
    shown = pictures[pictures["index"] < num_per_prompt]
    return [
        Block(str(name), [_build_pair(row, files) for row in rows.to_dict("records")])
        for name, rows in shown.groupby(label, sort=False)
    ]


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
    return Pair(name, baseline, finetuned, row["prompt"], row["difference"])
