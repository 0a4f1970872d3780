"""The training pictures: drawn once with two looks, kept as arrays in scratch.

Real photographs may be added to what the VAE and the scorer see: a parquet file in the layout of
the public CIFAR-10 edition (column `img` with encoded bytes, column `label`).
"""

import io
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import ConcatDataset
from tqdm import tqdm

from stages.base.latents import to_pixel_values
from stages.files.atomic import replace_file
from stages.files.captions import fill_template
from stages.sources.drawing.pictures import Look, draw_picture
from stages.sources.drawing.things import CLASS_NAMES, THINGS
from stages.tiny import recipe

NUM_HELD_OUT_PHOTOGRAPHS = 5000
NAMES: dict[Look, list[str]] = {"illustration": list(THINGS), "photo": list(CLASS_NAMES)}
"""What is drawn in each look."""


class Drawings(NamedTuple):
    """Pictures (N, 64, 64, 3) uint8 with a caption and a thing each."""

    images: np.ndarray
    captions: list[str]
    things: list[str]


class Mixture(NamedTuple):
    """Pictures of several sets, their captions, and how often each is drawn, unnormalised."""

    images: ConcatDataset[np.ndarray]
    captions: list[str]
    chances: Tensor

    def draw(self, batch_size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Pixel values (B, 3, 64, 64) in [-1, 1], with their rows (B,)."""
        rows = torch.multinomial(self.chances, batch_size, replacement=True, generator=generator)
        return to_pixel_values(np.stack([self.images[row] for row in rows.tolist()])), rows


def mix(sets: Sequence[Drawings], shares: Sequence[float]) -> Mixture:
    """The sets, each with its share of what is drawn."""
    chances = [
        torch.full((len(s.images),), p / len(s.images)) for s, p in zip(sets, shares, strict=True)
    ]
    captions = [caption for drawings in sets for caption in drawings.captions]
    images: list[Any] = [drawings.images for drawings in sets]
    return Mixture(ConcatDataset(images), captions, torch.cat(chances))


def load_drawings(look: Look) -> Drawings:
    """Training pictures of a look, drawn on the first call."""
    seeds = range(recipe.NUM_PICTURES_EACH[look])
    images, texts = (recipe.SCRATCH / f"{look}.{ending}" for ending in ("npy", "json"))
    if not texts.exists():
        drawings = draw_many([(look, name, seed) for seed in seeds for name in NAMES[look]])
        recipe.SCRATCH.mkdir(parents=True, exist_ok=True)
        np.save(images, drawings.images)
        with replace_file(texts) as partial:
            partial.write_text(json.dumps([drawings.captions, drawings.things]))
    captions, things = json.loads(texts.read_text())
    return Drawings(np.load(images, mmap_mode="c"), captions, things)


def draw_many(jobs: Sequence[tuple[Look, str, int]]) -> Drawings:
    """Draw (look, thing, seed) jobs on all cores, each picture resized to 64 px."""
    with ProcessPoolExecutor() as pool:
        results = list(tqdm(pool.map(_draw, jobs, chunksize=64), total=len(jobs), desc="draw"))
    images, captions, things = zip(*results, strict=True)
    return Drawings(np.stack(images), list(captions), list(things))


def load_photographs(path: Path) -> Drawings:
    """Real photographs of the ten classes, resized to 64 px, their captions "a photo of a CLASS".

    The last `NUM_HELD_OUT_PHOTOGRAPHS` rows are left for measuring.
    """
    table = pd.read_parquet(path)[:-NUM_HELD_OUT_PHOTOGRAPHS]
    images = [_resize(Image.open(io.BytesIO(row["bytes"]))) for row in table["img"]]
    things = [CLASS_NAMES[label] for label in table["label"]]
    return Drawings(
        np.stack(images), [fill_template("a photo of a {}", thing) for thing in things], things
    )


def _draw(job: tuple[Look, str, int]) -> tuple[np.ndarray, str, str]:
    picture = draw_picture(*job)
    return _resize(picture.image), picture.caption, picture.thing


def _resize(image: Image.Image) -> np.ndarray:
    size = (recipe.IMAGE_SIZE_PX, recipe.IMAGE_SIZE_PX)
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
