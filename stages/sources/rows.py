"""Rows of a table that a person wrote, CSV or JSON lines, each with the place to look at."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stages.config.mistakes import UserError, refuse_conflict, show
from stages.config.params import UNFIT, is_blank
from stages.sources.formats import refuse_stand_in
from stages.sources.walking import read_file

Row = dict[str, object]
FOREIGN_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
"""Of JSON lines; a table of any other name is a CSV."""
EXCELS_LINE = re.compile("sep=.?$")
"""With which Excel is told the separator."""


class Table(NamedTuple):
    """The columns, and rows with "FILE, line N", where N is the line that the row ends on.

    Attributes:
        header: The place of the columns' names, in the same words.
    """

    header: str
    columns: list[str]
    rows: list[tuple[str, Row]]


def read_rows(path: Path) -> Table:
    """Read a table of CSV or JSON lines.

    Raises:
        UserError: It is no such table; says where.
    """
    text = read_text(path)
    if path.suffix.lower() not in JSON_SUFFIXES:
        return _read_csv(path, text)
    lines = enumerate(text.split("\n"), 1)
    rows = [(f"{path}, line {n}", _parse(line, n, path)) for n, line in lines if line.strip()]
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    return Table(rows[0][0] if rows else str(path), columns, rows)


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        UserError: It is no UTF-8; says where.
    """
    data = read_file(path)
    refuse_stand_in(data, path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"byte {error.object[error.start]:#04x} is no UTF-8"
        raise UserError(f"{path}, line {line}: {found}; save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: null characters, as in UTF-16; save it as UTF-8")
    refuse_conflict(text, path)
    return text


def tidy_text(value: object, what: str, where: str) -> str:
    """A text on one line.

    Raises:
        UserError: It is empty, no text, or holds control characters.
    """
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: the {what} is no text: {show(value)}; write one")
    if is_blank(text):
        raise UserError(f"{where}: the {what} is empty; write it, or drop it")
    check_characters(text, what, where)
    return text


def check_characters(text: str, what: str, where: str) -> None:
    """Refuse control characters and halves of characters."""
    if any(unicodedata.category(character) in UNFIT for character in text):
        raise UserError(
            f"{where}: the {what} holds control characters: {show(text)}; take them out"
        )


def _read_csv(path: Path, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    rows: list[tuple[str, Row]] = []
    columns: list[str] = []
    header = str(path)
    _check_separators(path, text)
    try:
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if not values:
                continue
            if not columns:
                columns, header = [value.strip() for value in values], where
                _check_columns(columns, where)
                continue
            if len(values) > len(columns):
                raise UserError(
                    f"{where}: more values than columns; quote a caption or prompt that holds "
                    "commas"
                )
            rows.append((where, dict(zip(columns, values, strict=False))))
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: {error}; inside quotes write a quote twice"
        ) from None
    return Table(header, columns, rows)


def _check_separators(path: Path, text: str) -> None:
    lines = ((n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip())
    number, header = next(lines, (1, ""))
    where = f"{path}, line {number}"
    if EXCELS_LINE.match(header):
        raise UserError(f"{where}: {header} is for Excel alone; save it as plain CSV, commas")
    found = [word for sign, word in FOREIGN_SEPARATORS.items() if sign in header]
    if found and "," not in header:
        raise UserError(f"{where}: {found[0]} are between the columns; separate them by commas")


def _check_columns(columns: Sequence[str], where: str) -> None:
    twice = [name for place, name in enumerate(columns) if name in columns[:place]]
    if twice:
        raise UserError(f"{where}: column {show(twice[0])} is there twice; rename one")


def _refuse_twice(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is there twice; take one out")
    return row


def _parse(text: str, number: int, path: Path) -> Row:
    try:
        row = json.loads(text, object_pairs_hook=_refuse_twice)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f'{path}, line {number}: expected an object such as {{"file_name": …}}')
    return row
