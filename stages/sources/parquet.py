"""A parquet file with a column of encoded pictures and one of labels or captions or both.

Pictures are bytes or a struct with `bytes`, as in the Hugging Face layout. Labels and captions are
read at once, pictures a row group at a time: cheap if they are asked for in order.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import DataParams
from stages.files.images import decode_image
from stages.files.pictures import LazyColumn, open_parquet
from stages.sources.source import Entry, Source, tidy_caption


def open_source(data: DataParams, classes: Sequence[str]) -> Source:
    """List the file's rows; integer labels count through `classes`, 0 first.

    Raises:
        UserError: There is no such file.
        UserError: It is no parquet file, lacks a column, or a row's label is not a class.
    """
    path = data.path
    file = _open_file(path)
    labels: Sequence[str | None] = [None] * file.metadata.num_rows
    captions = labels
    if data.label_column:
        labels = _name_labels(_read_column(path, file, data.label_column), classes, path)
    if data.caption_column:
        captions = _read_captions(_read_column(path, file, data.caption_column), path)
    assert data.image_column is not None  # DataParams checks it
    entries = [
        Entry(f"{path.name}#{row}", label, caption)
        for row, (label, caption) in enumerate(zip(labels, captions, strict=True))
    ]
    return Source(str(path), entries, _build_loader(path, file, data.image_column))


def _open_file(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"source parquet: no file {path}; set data.root to one")
    return open_parquet(path)


def _read_column(path: Path, file: pq.ParquetFile, column: str) -> pa.ChunkedArray:
    _find_field(path, file, column)
    return file.read(columns=[column]).column(column)


def _find_field(path: Path, file: pq.ParquetFile, column: str) -> pa.Field:
    names = file.schema_arrow.names
    if column not in names:
        raise UserError(f"{path}: no column {column!r}; it has {', '.join(names)}")
    return file.schema_arrow.field(column)


def _name_labels(labels: pa.ChunkedArray, classes: Sequence[str], path: Path) -> list[str]:
    is_number = pa.types.is_integer(labels.type)
    known = dict(enumerate(classes)) if is_number else {name: name for name in classes}
    values = labels.to_pylist()
    for row, value in enumerate(values):
        if value not in known or isinstance(value, bool):
            allowed = f"0 to {len(classes) - 1}" if is_number else ", ".join(classes)
            raise UserError(
                f"{path}, row {row}: label {value!r} is none of prepare.classes ({allowed})"
            )
    return [known[value] for value in values]


def _read_captions(captions: pa.ChunkedArray, path: Path) -> list[str | None]:
    if not (pa.types.is_string(captions.type) or pa.types.is_large_string(captions.type)):
        raise UserError(f"{path}: the caption column holds {captions.type}, expected text")
    return [tidy_caption(caption) for caption in captions.to_pylist()]


def _build_loader(path: Path, file: pq.ParquetFile, column: str) -> Callable[[int], Image.Image]:
    pictures = LazyColumn(path, column, _find_field_of_bytes(path, file, column))

    def load_image(row: int) -> Image.Image:
        name = f"{path}, row {row}"
        data = pictures[row]
        if data is None:
            raise UserError(f"{name}: no picture in column {column!r}")
        return decode_image(data, name)

    return load_image


def _find_field_of_bytes(path: Path, file: pq.ParquetFile, column: str) -> str | None:
    """The field of a struct that has the bytes; None where the column itself has them."""
    kind = _find_field(path, file, column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "bytes"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return None
    raise UserError(f"{path}: column {column!r} holds {kind}, expected bytes or a struct with them")
