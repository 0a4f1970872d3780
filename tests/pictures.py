"""Whole tables of pictures, small enough for the memory."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.files.pictures import read_parts
from stages.files.tables import PAIRS_SCHEMA, SAMPLES_SCHEMA


def read_pairs(path: Path) -> pd.DataFrame:
    """The pairs with their encoded pictures."""
    return pd.concat(read_parts(path, PAIRS_SCHEMA, "prepare", 1000), ignore_index=True)


def read_samples(path: Path) -> pd.DataFrame:
    """A variant's pictures, encoded, with what is known of each."""
    return pd.concat(read_parts(path, SAMPLES_SCHEMA, "sample", 1000), ignore_index=True)


def name_images(path: Path) -> dict[str, bytes]:
    """A variant's encoded pictures by name."""
    samples = read_samples(path)
    return dict(zip(samples["file_name"], samples["image"], strict=True))


def decode_levels(data: bytes) -> np.ndarray:
    """Levels (H, W, 3) as int."""
    return np.asarray(Image.open(io.BytesIO(data)), dtype=int)
