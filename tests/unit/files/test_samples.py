from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.config.mistakes import UserError
from stages.files.images import decode_image, encode_png, write_png
from stages.files.samples import (
    ROWS_PER_GROUP,
    Pictures,
    name_shard,
    read_metadata,
    write_shard,
)
from stages.files.tables import SAMPLES_SCHEMA, write_table

COUNT = 3 * ROWS_PER_GROUP + 5
SHARD_SIZE = 2 * ROWS_PER_GROUP + 1


def build_samples() -> tuple[pd.DataFrame, list[bytes]]:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    samples = pd.DataFrame(
        {
            "file_name": [f"na-{row}_000.png" for row in range(COUNT)],
            "prompt": "null",
            "prompt_id": [f"na-{row}" for row in range(COUNT)],
            "set": "class",
            "class": "NA",
            "index": 0,
            "seed": np.arange(COUNT, dtype=np.uint64) + 2**47,
            "steps": 2,
            "guidance": 7.5,
            "scheduler": "ddim",
            "model": "models/tiny",
            "is_finite": [row != 7 for row in range(COUNT)],
        }
    )
    return samples, [encode_png(Image.fromarray(image)) for image in pixels]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The same pictures as files and as shards."""
    samples, pictures = build_samples()
    files, shards = tmp_path / "files/baseline", tmp_path / "shards/baseline"
    for name, data in zip(samples["file_name"], pictures, strict=True):
        write_png(decode_image(data, name), files / name)
    write_table(samples, files / "metadata.csv")
    for number, first in enumerate(range(0, COUNT, SHARD_SIZE)):
        part = slice(first, first + SHARD_SIZE)
        write_shard(samples.iloc[part], pictures[part], shards / name_shard(number, 2))
    return files, shards


def test_both_layouts_hold_the_same_metadata(folders: tuple[Path, Path]) -> None:
    one, other = map(read_metadata, folders)
    assert one.dtypes.to_dict() == other.dtypes.to_dict()
    assert list(one.columns) == list(SAMPLES_SCHEMA)
    pd.testing.assert_frame_equal(one, other)


def test_both_layouts_hold_the_same_bytes_in_whatever_order_they_are_asked_for(
    folders: tuple[Path, Path],
) -> None:
    names = read_metadata(folders[0])["file_name"].sample(frac=1, random_state=0).tolist()
    one, other = (Pictures(folder, names) for folder in folders)
    assert list(one) == list(other) == names
    assert all(one[name] == other[name] for name in names)
    assert len({other[name] for name in names}) == COUNT


def test_a_shard_is_read_in_small_parts(folders: tuple[Path, Path]) -> None:
    file = pq.ParquetFile(folders[1] / name_shard(0, 2))
    assert file.schema_arrow.names == [*SAMPLES_SCHEMA, "image"]
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    assert rows == [ROWS_PER_GROUP, ROWS_PER_GROUP, 1]


@pytest.mark.parametrize("layout", [0, 1])
def test_a_picture_that_is_not_there_is_named(folders: tuple[Path, Path], layout: int) -> None:
    with pytest.raises(UserError, match=r"baseline/no\.png; run `dvc repro -f sample@base"):
        Pictures(folders[layout], ["na-0_000.png", "no.png"])


def test_a_shard_that_is_missing_is_named(folders: tuple[Path, Path]) -> None:
    (folders[1] / name_shard(1, 2)).unlink()
    with pytest.raises(UserError, match=r"samples-00001-of-00002\.parquet; run `dvc check"):
        read_metadata(folders[1])


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_shard_that_was_cut_off_is_one_line(folders: tuple[Path, Path], keep: float) -> None:
    shard = folders[1] / name_shard(1, 2)
    data = shard.read_bytes()
    shard.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(UserError, match=r"not a whole shard .*; run `dvc check") as caught:
        read_metadata(folders[1])
    assert "\n" not in str(caught.value)
