"""One side's pictures that another program made: a row a picture, and where each is.

A folder with a table right under it, or parquet. Rows have a file and a prompt; a class, a set of
prompts, a seed or a pair if they are known.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stages.config.mistakes import UserError, enumerate_keys, show
from stages.files.pictures import open_parquet
from stages.sources.captions import TABLE_SUFFIXES, TABLES, find_table
from stages.sources.formats import NUM_HEAD_BYTES, refuse_stand_in
from stages.sources.imagefolder import (
    CAPTION_COLUMNS,
    FILE_COLUMNS,
    check_name,
    list_pictures,
    open_files,
    resolve_name,
)
from stages.sources.notes import Note
from stages.sources.parquet import open_pictures
from stages.sources.prompts import SETS, make_prompt_id
from stages.sources.rows import Row, Table, read_rows, tidy_text
from stages.sources.source import Entry, Source, build_loader
from stages.sources.walking import Found, is_folder, list_files, read_file, walk, word_missing

PROMPT_COLUMNS = ("prompt", *CAPTION_COLUMNS)
OPTIONAL_COLUMNS = ("class", "set", "seed", "pair")
IMAGE_COLUMN = "image"
ONE_SET = SETS[0]
"""Of all pictures, where no column names one."""
NUM_SHOWN = 3
MAX_SEED = 2**64 - 1
LIKENESS = 0.8
"""From which on a column's name is taken for another one, misspelt: 0 to 1, difflib's ratio."""


class Side(NamedTuple):
    """The pictures of a variant.

    Attributes:
        key: Of params.yaml, that names them.
        rows: source_id, prompt_id, set, class ("" for none) and prompt of each, in the order of the
            source's entries; seed and pair where they are known.
        source: Of the pictures; its captions are the prompts.
    """

    key: str
    rows: pd.DataFrame
    source: Source


def open_side(path: Path, key: str) -> Side:
    """List the pictures of a folder, a parquet file, or several that a pattern names.

    Raises:
        UserError: There is none, its table lacks a column, or rows are wrong: the first of them.
    """
    if is_folder(path):
        return _open_folder(path, key)
    files, notes = list_files(path)
    if not files:
        raise word_missing(path, key, "folder or parquet file")
    return _open_parquet(path, files, key, notes)


def raise_first(problems: Sequence[str], what: str) -> None:
    """Raise the first problems, if there are any, with how many of `what` there are in all."""
    if problems:
        more = f"\n{len(problems)} {what} in all" if len(problems) > NUM_SHOWN else ""
        raise UserError("\n".join(problems[:NUM_SHOWN]) + more)


def _open_folder(root: Path, key: str) -> Side:
    files, notes = walk(root)
    pictures, others = list_pictures(files)
    path = find_table(root, notes, others)
    if path is None:
        raise UserError(_word_no_table(root, others))
    table = read_rows(path)
    file_column, prompt_column = _choose_columns(table, FILE_COLUMNS, PROMPT_COLUMNS)
    names = {found.name for found in pictures}

    def name_file(row: Row, where: str) -> str:
        return resolve_name(root, check_name(row.get(file_column), where), names, where)

    rows = _read_pictures(table, prompt_column, name_file)
    notes += [note for note in others if note.item != path.name]
    notes += _note_columns(table, path.name, {file_column, prompt_column})
    notes += [Note(n, f"not in {path.name}") for n in sorted(names - set(rows["source_id"]))]
    places = {found.name: found.path for found in pictures}
    return Side(key, rows, open_files(str(root), _list_entries(rows), places, notes))


def _open_parquet(path: Path, files: Sequence[Found], key: str, notes: list[Note]) -> Side:
    tables, columns = [], []
    for name, file in files:
        refuse_stand_in(read_file(file, NUM_HEAD_BYTES), file)
        table = _read_texts(file)
        (prompt_column,) = _choose_columns(table, PROMPT_COLUMNS)
        columns.append(open_pictures(file, IMAGE_COLUMN))
        rows = _read_pictures(table, prompt_column, lambda _, where: where)
        tables.append(rows.assign(source_id=[f"{name}#{row}" for row in range(len(rows))]))
        notes += _note_columns(table, name, {*FILE_COLUMNS, prompt_column})
    rows = pd.concat(tables, ignore_index=True)
    if some := [name for name in OPTIONAL_COLUMNS if name in rows and rows[name].isna().any()]:
        raise UserError(f"{path}: not all files have a column {some[0]}; write it, or drop it")
    places = [(number, row) for number, part in enumerate(tables) for row in range(len(part))]

    def show_row(index: int) -> str:
        number, row = places[index]
        return f"{files[number].path}, row {row}"

    def read(index: int) -> bytes:
        number, row = places[index]
        if not (data := columns[number][row]):
            raise UserError(f"{show_row(index)}: no picture in column {IMAGE_COLUMN}; drop the row")
        return data

    entries = _list_entries(rows)
    load_image = build_loader(entries, read, show_row, notes)
    return Side(key, rows, Source(str(path), entries, load_image, notes, name_place=show_row))


def _read_texts(path: Path) -> Table:
    """All columns of a parquet file but the pictures."""
    file = open_parquet(path)
    columns = [name for name in file.schema_arrow.names if name != IMAGE_COLUMN]
    rows = file.read(columns=columns).to_pylist()
    return Table(str(path), columns, [(f"{path}, row {n}", row) for n, row in enumerate(rows)])


def _read_pictures(
    table: Table, prompt_column: str, name_file: Callable[[Row, str], str]
) -> pd.DataFrame:
    """The rows of a side, each checked; `name_file` makes the source_id."""
    given = [name for name in OPTIONAL_COLUMNS if name in table.columns]
    rows: dict[str, dict[str, Any]] = {}
    problems = []
    for where, row in table.rows:
        try:
            name = name_file(row, where)
            if name in rows:
                raise UserError(f"{where}: {name} is listed twice; drop one row")
            prompt = tidy_text(row.get(prompt_column), "prompt", where)
            read = {column: _READERS[column](row.get(column), where) for column in given}
            ids = {"source_id": name, "prompt_id": make_prompt_id(prompt)}
            rows[name] = {**ids, "set": ONE_SET, "class": "", **read, "prompt": prompt}
        except UserError as error:
            problems.append(str(error))
    raise_first(problems, f"rows of {table.header} are wrong")
    if not rows:
        raise UserError(f"{table.header}: lists no pictures; add rows")
    return pd.DataFrame(list(rows.values()))


def _choose_columns(table: Table, *kinds: Sequence[str]) -> list[str]:
    """Of each kind of column the first of its names that the table has."""
    chosen = [next((name for name in names if name in table.columns), "") for names in kinds]
    for names, found in zip(kinds, chosen, strict=True):
        if not found:
            near = next((c for c in table.columns if _resembles(c, names[0])), "")
            raise UserError(
                f"{table.header}: no column {names[0]}; it has {enumerate_keys(table.columns)}; "
                f"rename {near or 'one of them'}"
            )
    return chosen


def _note_columns(table: Table, item: str, used: set[str]) -> list[Note]:
    """What is not read.

    Raises:
        UserError: It is nearly the name of a column that would be, and is not there.
    """
    unread = [name for name in table.columns if name not in {*used, *OPTIONAL_COLUMNS}]
    for name in unread:
        for known in OPTIONAL_COLUMNS:
            if known not in table.columns and _resembles(name, known):
                raise UserError(
                    f"{table.header}: column {name} is not read; did you mean {known}? Rename it"
                )
    return [Note(item, f"columns not used: {enumerate_keys(unread)}")] if unread else []


def _resembles(name: str, known: str) -> bool:
    """Whether a column is probably another, misspelt; `step` is no `set`."""
    name = name.casefold()
    is_near = SequenceMatcher(None, name, known).ratio() >= LIKENESS
    return is_near and name[:2] == known[:2]


def _read_text(what: str) -> Callable[[object, str], str]:
    return lambda value, where: tidy_text(value, what, where)


def _read_set(value: object, where: str) -> str:
    name = tidy_text(value, "set", where)
    if name not in SETS:
        raise UserError(f"{where}: found set {show(name)}; should be {' or '.join(SETS)}")
    return name


def _read_seed(value: object, where: str) -> int:
    """A whole number; as text in a CSV, or with .0 where a program wrote it with a gap."""
    text = "" if value is None or isinstance(value, bool) else str(value).strip()
    text = text.removesuffix(".0")
    if not (text.isascii() and text.isdecimal() and int(text) <= MAX_SEED):
        raise UserError(
            f"{where}: found seed {show(value)}; should be a whole number, 0 to 2^64 - 1; if seeds "
            "are not known, drop the column"
        )
    return int(text)


def _read_pair(value: object, where: str) -> str:
    return tidy_text(str(value) if isinstance(value, int) else value, "pair", where)


_READERS: Mapping[str, Callable[[object, str], object]] = {
    "class": _read_text("class"),
    "set": _read_set,
    "seed": _read_seed,
    "pair": _read_pair,
}


def _list_entries(rows: pd.DataFrame) -> list[Entry]:
    found = zip(rows["source_id"], rows["class"], rows["prompt"], strict=True)
    return [Entry(source_id, class_name or None, prompt) for source_id, class_name, prompt in found]


def _word_no_table(root: Path, others: Sequence[Note]) -> str:
    """That a folder has no table, and what it may have in its place."""
    message = f"{root}: no table; should have {' or '.join(TABLES[:2])}, with file_name and prompt"
    if any(note.item.endswith(".parquet") for note in others):
        return f"{message}; name its parquet files as {root / '*.parquet'}"
    tables = [n.item for n in others if "/" not in n.item and n.item.endswith(TABLE_SUFFIXES)]
    return f"{message}; rename {tables[0]}" if tables else message
