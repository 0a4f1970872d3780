"""Parquet with a column of encoded pictures and one of labels or captions or both.

It is a file, a folder of shards or a pattern such as `train-*.parquet`. Pictures are bytes or a
struct with `bytes`, as in the Hugging Face layout. Labels and captions are read at once, pictures a
row group at a time: cheap if they are asked for in order.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.mistakes import UserError
from stages.config.params import DataParams, is_blank
from stages.files.pictures import LazyColumn, open_parquet
from stages.sources.formats import NUM_HEAD_BYTES, refuse_stand_in
from stages.sources.notes import Note
from stages.sources.source import NO_CAPTION, Entry, Source, build_loader, tidy_caption
from stages.sources.walking import Found, list_files, normalise, read_file, word_missing

Label = str | None
BINARIES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
NO_CLASS = "class not in prepare.classes"


def open_source(data: DataParams, classes: Sequence[str]) -> Source:
    """List the rows; integer labels count through the file's own names, else `classes`, 0 first.

    Raises:
        UserError: There is no such file.
        UserError: It is no parquet file, lacks a column, or its labels are no classes.
    """
    files, notes = list_files(data.path)
    if not files:
        raise word_missing(data.path, "data.root", "parquet file")
    assert data.image_column is not None  # DataParams checks it
    entries, rows = _list_taken(files, data, classes, notes)
    columns = [open_pictures(path, data.image_column) for _, path in files]

    def read(index: int) -> bytes:
        number, row = rows[index]
        data_ = columns[number][row]
        if not data_:
            raise UserError(
                f"{show_row(index)}: no picture in column {data.image_column!r}; drop the row"
            )
        return data_

    def show_row(index: int) -> str:
        number, row = rows[index]
        return f"{files[number].path}, row {row}"

    load_image = build_loader(entries, read, show_row, notes)
    return Source(str(data.path), entries, load_image, notes, name_place=show_row)


def _list_taken(
    files: Sequence[Found], data: DataParams, classes: Sequence[str], notes: list[Note]
) -> tuple[list[Entry], list[tuple[int, int]]]:
    """The entries, and of each its file and its row there."""
    entries, rows = [], []
    for number, (name, path) in enumerate(files):
        for row, entry in enumerate(_list_rows(name, path, data, classes)):
            if reason := _judge(entry, data):
                notes.append(Note(entry.source_id, reason))
            if reason != NO_CLASS:
                entries.append(entry)
                rows.append((number, row))
    return entries, rows


def _judge(entry: Entry, data: DataParams) -> str:
    """Why a row is left out, or is not as the others; "" if it is."""
    if data.label_column and not entry.class_name:
        return NO_CLASS
    return NO_CAPTION if data.caption_column and entry.class_name and not entry.caption else ""


def _list_rows(name: str, path: Path, data: DataParams, classes: Sequence[str]) -> Iterator[Entry]:
    refuse_stand_in(read_file(path, NUM_HEAD_BYTES), path)
    file = open_parquet(path)
    labels: Sequence[Label] = [None] * file.metadata.num_rows
    captions: Sequence[str | None] = labels
    if data.label_column:
        labels = _name_labels(path, file, data.label_column, classes)
    if data.caption_column:
        captions = _read_captions(_read_column(path, file, data.caption_column), path)
    for row, (label, caption) in enumerate(zip(labels, captions, strict=True)):
        yield Entry(f"{name}#{row}", label, caption)


def _read_column(path: Path, file: pq.ParquetFile, column: str) -> pa.ChunkedArray:
    _find_field(path, file, column)
    try:
        values = file.read(columns=[column]).column(column)
        values.validate(full=True)  # that texts are UTF-8
        kind = values.type
        return values.cast(kind.value_type) if pa.types.is_dictionary(kind) else values
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: column {column!r} is not readable ({error}); write it again, texts in UTF-8"
        ) from None


def _find_field(path: Path, file: pq.ParquetFile, column: str) -> pa.Field:
    names = file.schema_arrow.names
    if column not in names:
        raise UserError(
            f"{path}: no column {column!r}; it has {', '.join(names)}; name one of them"
        )
    if names.count(column) > 1:
        raise UserError(f"{path}: column {column!r} is there twice; rename one of them")
    return file.schema_arrow.field(column)


def _name_labels(
    path: Path, file: pq.ParquetFile, column: str, classes: Sequence[str]
) -> list[Label]:
    """The class of each row; None for one of the file's own that `classes` leaves out."""
    labels = _read_column(path, file, column)
    is_number = pa.types.is_integer(labels.type)
    if not (is_number or _is_text(labels.type) or pa.types.is_boolean(labels.type)):
        raise UserError(
            f"{path}: column {column!r} holds {labels.type}, expected whole numbers or names; "
            "name another as label_column"
        )
    known = {normalise(name): name for name in classes}
    own = _read_own_names(file, column) if is_number else None
    if own is not None and (strange := [name for name in classes if normalise(name) not in own]):
        raise UserError(
            f"{path}: its labels are {', '.join(own)}; prepare.classes are {', '.join(classes)}; "
            f"it has no {', '.join(strange)}; take out what it lacks"
        )
    names = own if own is not None else list(known)
    table = dict(enumerate(names)) if is_number else {name: name for name in names}
    values = labels.to_pylist()
    values = [normalise(value) if isinstance(value, str) else value for value in values]
    for row, value in enumerate(values):
        if value not in table or isinstance(value, bool):
            allowed = f"0 to {len(names) - 1}" if is_number else ", ".join(classes)
            whose = "the file's own" if own is not None else "prepare.classes"
            raise UserError(
                f"{path}, row {row}: label {value!r} is none of {whose} ({allowed}); correct it, "
                "or drop the row"
            )
    return [known.get(table[value]) for value in values]


def _read_own_names(file: pq.ParquetFile, column: str) -> list[str] | None:
    """What the file calls its labels, as `datasets` writes it; None if it says nothing."""
    try:
        text = (file.schema_arrow.metadata or {})[b"huggingface"]
        names = json.loads(text)["info"]["features"][column]["names"]
        return [normalise(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return None


def _read_captions(captions: pa.ChunkedArray, path: Path) -> list[str | None]:
    """A caption of each row; of those that have a list, each takes the next one."""
    kind = captions.type
    is_list = any(is_kind(kind) for is_kind in LISTS)
    if not _is_text(kind.value_type if is_list else kind):
        raise UserError(
            f"{path}: the caption column holds {kind}, expected text or lists of it; name another "
            "as caption_column"
        )
    values = captions.to_pylist()
    if is_list:
        lists = [[text for text in some or [] if not is_blank(text or "")] for some in values]
        values = [some[row % len(some)] if some else None for row, some in enumerate(lists)]
    return [tidy_caption(caption) for caption in values]


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in TEXTS)


def open_pictures(path: Path, column: str) -> LazyColumn:
    """The encoded pictures of a column of a file.

    Raises:
        UserError: There is no such column, or it holds something else.
    """
    kind = _find_field(path, open_parquet(path), column).type
    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    plain = kind.field("bytes").type if has_bytes else kind
    plain = plain.value_type if pa.types.is_dictionary(plain) else plain
    if any(is_kind(plain) for is_kind in BINARIES):
        return LazyColumn(path, column, "bytes") if has_bytes else LazyColumn(path, column)
    raise UserError(
        f"{path}: column {column!r} holds {kind}, expected bytes or a struct with them; "
        "name another as image_column"
    )
