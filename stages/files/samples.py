"""A variant's sampled pictures in either of two layouts, with one reader for both.

Up to `sample.shard_above` pictures: a PNG file each, and metadata.csv beside them. More: parquet
shards with the same columns, and the bytes of the PNG file in `image`. Either way a picture is
known by its file_name, and a reader holds no more pictures than it was asked for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file
from stages.files.tables import SAMPLES_SCHEMA, read_samples

ROWS_PER_GROUP = 32
"""Pictures that are read together, when one of them is wanted."""
SHARD_NAME = re.compile(r"samples-\d{5}-of-(\d{5})\.parquet")


def name_shard(number: int, count: int) -> str:
    """The file name of a shard, from 0, of so many: a missing one can be told."""
    return f"samples-{number:05d}-of-{count:05d}.parquet"


def write_shard(samples: pd.DataFrame, pictures: Sequence[bytes], path: Path) -> None:
    """Write rows of metadata with their encoded pictures, whole or not at all."""
    columns = samples[list(SAMPLES_SCHEMA)].astype(dict(SAMPLES_SCHEMA))
    table = pa.Table.from_pandas(columns, preserve_index=False)
    table = table.append_column("image", pa.array(pictures, pa.binary()))
    with replace_file(path) as partial:
        # What PNG has compressed is left as it is.
        pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="none")


def read_metadata(folder: Path) -> pd.DataFrame:
    """What is known of each picture of a variant, in the order in which they were sampled.

    Raises:
        UserError: `sample` has not run, or a shard is missing.
        UserError: A file is damaged.
    """
    shards = list_shards(folder)
    if not shards:
        return read_samples(folder)
    tables = [_open_shard(shard).read(list(SAMPLES_SCHEMA)).to_pandas() for shard in shards]
    return pd.concat(tables, ignore_index=True).astype(dict(SAMPLES_SCHEMA))


def list_shards(folder: Path) -> list[Path]:
    """The shards of a variant, in order; none where the pictures are files.

    Raises:
        UserError: One is missing.
    """
    shards = sorted(path for path in folder.glob("*.parquet") if SHARD_NAME.match(path.name))
    if not shards:
        return []
    found = SHARD_NAME.match(shards[0].name)
    assert found
    count = int(found[1])
    for number in range(count):
        if folder / name_shard(number, count) not in shards:
            raise UserError(
                f"no file {folder / name_shard(number, count)}; run `dvc checkout --force {folder}`"
            )
    return shards


class Pictures(Mapping[str, bytes]):
    """The encoded pictures of a variant by file_name; each is read when it is asked for."""

    def __init__(self, folder: Path, file_names: Sequence[str]) -> None:
        """Know where each picture is.

        Raises:
            UserError: A picture is not there.
        """
        self.folder = folder
        self._shards = list_shards(folder)
        places = self._find_rows() if self._shards else None
        for name in file_names:
            if name not in places if places is not None else not (folder / name).is_file():
                raise UserError(
                    f"no picture {folder / name}; run `dvc repro -f sample@{folder.name}`"
                )
        self._places = {name: places[name] if places else (0, 0, 0) for name in file_names}
        self._read_group = lru_cache(maxsize=2)(self._read_group_anew)

    def __getitem__(self, name: str) -> bytes:
        """The bytes of a PNG file.

        Raises:
            UserError: The shard that holds it is damaged.
        """
        shard, group, row = self._places[name]
        if not self._shards:
            return (self.folder / name).read_bytes()
        return self._read_group(shard, group)[row]

    def __iter__(self) -> Iterator[str]:
        """The file names, in the order in which they were given."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def locate(self, name: str) -> str:
        """Where a picture is, for messages."""
        shard, _, _ = self._places[name]
        return f"{self._shards[shard]}, {name}" if self._shards else str(self.folder / name)

    def _find_rows(self) -> dict[str, tuple[int, int, int]]:
        """Shard, row group and row in it of each picture, by file_name."""
        places = {}
        for number, shard in enumerate(self._shards):
            names = _open_shard(shard).read(["file_name"])["file_name"].to_pylist()
            for row, name in enumerate(names):
                places[name] = (number, *divmod(row, ROWS_PER_GROUP))
        return places

    def _read_group_anew(self, shard: int, group: int) -> list[bytes]:
        path = self._shards[shard]
        try:
            return _open_shard(path).read_row_group(group, ["image"])["image"].to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UserError(_word_damage(path, error)) from None


def _open_shard(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_word_damage(path, error)) from None


def _word_damage(path: Path, error: Exception) -> str:
    line = str(error).splitlines()[0]
    return f"{path}: not a whole shard ({line}); run `dvc checkout --force {path.parent}`"
