"""Rows of a table that a person wrote, CSV or JSON lines, each with the place to look at."""

import csv
import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from stages.config.mistakes import UserError, show
from stages.config.params import UNFIT
from stages.sources.walking import read_file

Row = dict[str, object]


def read_rows(path: Path) -> tuple[list[str], list[tuple[str, Row]]]:
    """The columns, and rows with "FILE, line N", where N is the line that the row ends on.

    Raises:
        UserError: It is no such table; says where.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {error}; save it as UTF-8") from None
    if path.suffix == ".csv":
        return _read_csv(path, text)
    lines = enumerate(text.split("\n"), 1)
    rows = [(f"{path}, line {n}", _parse(line, n, path)) for n, line in lines if line.strip()]
    return list(dict.fromkeys(name for _, row in rows for name in row)), rows


def tidy_text(value: object, what: str, where: str) -> str:
    """A text on one line.

    Raises:
        UserError: It is empty, no text, or holds control characters.
    """
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: the {what} is no text: {show(value)}")
    if not text:
        raise UserError(f"{where}: the {what} is empty")
    check_characters(text, what, where)
    return text


def check_characters(text: str, what: str, where: str) -> None:
    """Refuse control characters and halves of characters."""
    if any(unicodedata.category(character) in UNFIT for character in text):
        raise UserError(f"{where}: the {what} holds control characters: {show(text)}")


def _read_csv(path: Path, text: str) -> tuple[list[str], list[tuple[str, Row]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, Row]] = []
    columns: list[str] = []
    try:
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if not values:
                continue
            if not columns:
                columns = [value.strip() for value in values]
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
    return columns, rows


def _check_columns(columns: Sequence[str], where: str) -> None:
    twice = [name for place, name in enumerate(columns) if name in columns[:place]]
    if twice:
        raise UserError(f"{where}: column {show(twice[0])} is there twice; rename one")


def _parse(text: str, number: int, path: Path) -> Row:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f'{path}, line {number}: expected an object such as {{"file_name": …}}')
    return row
