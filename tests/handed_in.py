"""Two sides' pictures, as another program hands them in: folders with a table each, or parquet."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.config import paths
from stages.files.images import encode_png
from tests.pictures import read_samples

Rows = list[dict[str, object]]


def make_rows(prompts: dict[str, int], **columns: object) -> Rows:
    """So many pictures of each prompt, each with the columns; a callable gets its number."""
    return [
        {
            "file_name": f"{place}_{number}.png",
            "prompt": prompt,
            **{k: v(number) if callable(v) else v for k, v in columns.items()},
        }
        for place, (prompt, count) in enumerate(prompts.items())
        for number in range(count)
    ]


def write_side(folder: Path, rows: Rows, seed: int = 0, side_px: int = 16) -> Path:
    """A folder with pictures of noise and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for row in rows:
        pixels = rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / str(row["file_name"]))
    write_rows(folder / "metadata.csv", rows)
    return folder


def write_rows(path: Path, rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Rows, seed: int = 0) -> Path:
    """The same in one file."""
    rng = np.random.default_rng(seed)
    pixels = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in rows]
    table = pd.DataFrame(rows).drop(columns="file_name")
    table.assign(image=[encode_png(Image.fromarray(p)) for p in pixels]).to_parquet(path)
    return path


def hand_out(folder: Path, columns: list[str]) -> dict[str, str]:
    """Write the sampled pictures of the current folder as two sides; where they are."""
    named = {}
    for variant, path in paths.SAMPLES.items():
        samples, target = read_samples(path), folder / variant
        target.mkdir(parents=True)
        for row in samples.itertuples():
            (target / row.file_name).write_bytes(row.image)
        write_rows(target / "metadata.csv", samples[["file_name", *columns]].to_dict("records"))
        named[variant] = str(target)
    return named
