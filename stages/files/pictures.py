"""Tables of pictures: parquet, a row a picture, its PNG file in the column `image`.

So are the pairs to train on and the sampled pictures kept. They are written and read some at a
time: a million don't fit in memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file
from stages.files.tables import SAMPLES_EXTRA, SAMPLES_SCHEMA, Schema, require_file

IMAGE = "image"
ROWS_PER_GROUP = 64
"""Pictures that are in memory together, where one of them is wanted."""


def write_pictures(rows: pd.DataFrame, images: Iterable[bytes], path: Path, schema: Schema) -> None:
    """Write N rows of the columns of `schema` with their encoded pictures, whole or not at all."""
    texts = pa.Table.from_pandas(rows[list(schema)].astype(dict(schema)), preserve_index=False)
    texts = texts.replace_schema_metadata(None)  # pandas' own would not name the pictures
    kinds = texts.schema.append(pa.field(IMAGE, pa.binary()))
    rest = iter(images)
    with (
        replace_file(path) as partial,
        # What PNG has compressed is left as it is.
        pq.ParquetWriter(partial, kinds, compression="none", write_page_checksum=True) as writer,
    ):
        for first in range(0, len(rows), ROWS_PER_GROUP):
            part = texts.slice(first, ROWS_PER_GROUP)
            pictures = pa.array(islice(rest, len(part)), pa.binary())
            writer.write_table(part.append_column(IMAGE, pictures))


def read_rows(path: Path, schema: Schema, stage: str) -> pd.DataFrame:
    """Read the columns of `schema` of all pictures; `stage` is what makes the file.

    Raises:
        UserError: The file is missing, damaged, or lacks a column.
    """
    return pd.concat(_read_parts(path, list(schema), stage, 2**20), ignore_index=True)


def read_parts(path: Path, schema: Schema, stage: str, count: int) -> Iterator[pd.DataFrame]:
    """Read the columns of `schema` and the pictures, `count` at a time; raises as `read_rows`."""
    yield from _read_parts(path, [*schema, IMAGE], stage, count)


def find_samples_schema(path: Path) -> Schema:
    """The columns of a table of sampled pictures, of which some are seldom there.

    Raises:
        UserError: The file is missing or damaged.
    """
    require_file(path, "sample")
    try:
        names = open_parquet(path).schema_arrow.names
    except UserError as error:
        raise UserError(f"{error}; run `dvc repro sample`") from None
    return {
        **SAMPLES_SCHEMA,
        **{name: kind for name, kind in SAMPLES_EXTRA.items() if name in names},
    }


class LazyColumn:
    """A column's values by row; the row group that was used last stays in memory.

    So it is cheap to ask for rows in order.
    """

    def __init__(self, path: Path, column: str = IMAGE, field: str | None = None) -> None:
        """Open a file; of a column of structs, take a `field`.

        Raises:
            UserError: The file is missing or damaged.
        """
        self._path, self._column, self._field = path, column, field
        self._file = open_parquet(path)
        groups = range(self._file.num_row_groups)
        self._sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._ends = np.cumsum(self._sizes, dtype=int)
        self._read_group = lru_cache(maxsize=1)(self._read_group_anew)

    def __getitem__(self, row: int) -> Any:
        """The value of a row; None where there is none.

        Raises:
            UserError: The file is damaged there.
        """
        group = int(np.searchsorted(self._ends, row, side="right"))
        place = int(row - self._ends[group] + self._sizes[group])
        try:
            return self._read_group(group)[place].as_py()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._path}, row {row}: not readable ({error})") from None

    def read_names(self, column: str) -> list[str]:
        """Another column of the file, whole."""
        return self._file.read([column])[column].to_pylist()

    def _read_group_anew(self, group: int) -> pa.ChunkedArray:
        leaf = f"{self._column}.{self._field}" if self._field else self._column
        values = self._file.read_row_group(group, columns=[leaf]).column(self._column)
        if self._field is None:
            return values
        return pa.chunked_array([chunk.field(self._field) for chunk in values.chunks])


class NamedPictures(Mapping[str, bytes]):
    """The encoded pictures of a table by what a column calls them; read when asked for."""

    def __init__(self, path: Path, column: str) -> None:
        """Know the row of each name.

        Raises:
            UserError: The file is missing or damaged.
        """
        self._images = LazyColumn(path)
        names = self._images.read_names(column)
        self._rows = {name: row for row, name in enumerate(names)}

    def __getitem__(self, name: str) -> bytes:
        """The bytes of a PNG file."""
        return self._images[self._rows[name]]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the rows."""
        return iter(self._rows)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file, whose damage will be noticed where it is read.

    Raises:
        UserError: It is no parquet file, or it was cut off.
    """
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a whole parquet file ({_shorten(error)})") from None


def _read_parts(
    path: Path, columns: Sequence[str], stage: str, count: int
) -> Iterator[pd.DataFrame]:
    require_file(path, stage)
    remedy = f"run `dvc repro {stage}`"
    try:
        file = open_parquet(path)
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise UserError(f"{path}: no column {', '.join(missing)}")
        for batch in file.iter_batches(count, columns=list(columns)):
            yield batch.to_pandas()
        if not file.metadata.num_rows:
            yield file.read(columns=list(columns)).to_pandas()
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({_shorten(error)}); {remedy}") from None


def _shorten(error: Exception) -> str:
    return str(error).partition("\n")[0]
