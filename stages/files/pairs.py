"""data/pairs.parquet: captioned pictures, written and read some at a time.

Columns: image (an encoded picture), caption, class, split (train or validation) and source_id. The
pairs that are trained on come first.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file
from stages.files.row_groups import LazyColumn

TEXT_COLUMNS = ("caption", "class", "split", "source_id")
COLUMNS = ("image", *TEXT_COLUMNS)

PAIRS_PER_GROUP = 256
"""Pictures that are in memory together; a multiple of what any stage takes at once."""


def write_pairs(rows: pd.DataFrame, pictures: Iterable[bytes], path: Path) -> None:
    """Write N rows of `TEXT_COLUMNS` with their encoded pictures, whole or not at all."""
    texts = pa.Table.from_pandas(rows[list(TEXT_COLUMNS)], preserve_index=False)
    texts = texts.replace_schema_metadata(None)  # pandas' own would not name the pictures
    schema = texts.schema.insert(0, pa.field("image", pa.binary()))
    rest = iter(pictures)
    with (
        replace_file(path) as partial,
        # What PNG has compressed is left as it is.
        pq.ParquetWriter(partial, schema, compression="none") as writer,
    ):
        for first in range(0, len(rows), PAIRS_PER_GROUP):
            part = texts.slice(first, PAIRS_PER_GROUP)
            images = pa.array(islice(rest, len(part)), pa.binary())
            writer.write_table(part.add_column(0, "image", images))


def read_pairs(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Read columns of all pairs.

    Raises:
        UserError: `prepare` has not run.
        UserError: The file is damaged, or no table of pairs.
    """
    _check_columns(path, columns)
    try:
        return pd.read_parquet(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise UserError(_word_damage(path, error)) from None


def read_parts(path: Path, count: int) -> Iterator[pd.DataFrame]:
    """Read all columns, `count` pairs at a time; raises as `read_pairs`."""
    _check_columns(path, COLUMNS)
    try:
        for batch in pq.ParquetFile(path).iter_batches(count, columns=list(COLUMNS)):
            yield batch.to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise UserError(_word_damage(path, error)) from None


def open_pictures(path: Path) -> LazyColumn:
    """The encoded pictures by row, each read when it is asked for; raises as `read_pairs`."""
    _check_columns(path, COLUMNS)
    return LazyColumn(path, "image")


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if not path.is_file():
        raise UserError(f"no file {path}; run `dvc repro prepare`, which writes it")
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise UserError(_word_damage(path, error)) from None
    if missing := [name for name in columns if name not in names]:
        raise UserError(_word_damage(path, f"no column {', '.join(missing)}"))


def _word_damage(path: Path, error: object) -> str:
    return f"{path}: not a table of pairs ({error}); run `dvc repro prepare`"
