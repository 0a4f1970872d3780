"""The prompts to sample: templates filled with classes, marketing prompts, and those of a file."""

import csv
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stages.config.mistakes import UserError, show
from stages.config.params import UNFIT, PromptsParams
from stages.files.captions import fill_template
from stages.sources.source import tidy_caption

MAX_SLUG = 40
SETS = ("class", "marketing")
COLUMNS = ["set", "class", "prompt"]


def build_prompts(classes: Sequence[str], params: PromptsParams) -> pd.DataFrame:
    """Fill every class template with every class; add the marketing prompts and the file's.

    Raises:
        UserError: There is no such file.
        UserError: A row of the file is wrong, or two prompts come out the same or would share
            their files.
    """
    rows = [
        ("class", name, fill_template(template, name))
        for name in classes
        for template in params.class_templates
    ]
    rows += [("marketing", row.class_name, row.prompt) for row in params.marketing]
    rows += read_rows(Path(params.file))
    prompt, count = Counter(prompt for _, _, prompt in rows).most_common(1)[0]
    if count > 1:
        raise UserError(f"prompts: {prompt!r} comes out {count} times; change a template or prompt")
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.insert(0, "prompt_id", [make_prompt_id(prompt) for prompt in table["prompt"]])
    check_distinct(table)
    return table


def read_rows(path: Path) -> list[tuple[str, str, str]]:
    """Set, class and prompt of each row of a CSV; further columns are not read.

    Blanks at the ends, and all but one between two words, are dropped.

    Raises:
        UserError: There is no such file.
        UserError: It is no CSV with these columns, or a row is wrong: its line, what is allowed.
    """
    if not path.is_file():
        raise UserError(f"prompts.file: no file {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(
                    f"{path}: no column {', '.join(missing)}; the first line should be "
                    f"{','.join(COLUMNS)}"
                )
            return [_check_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None


def _check_row(row: dict, where: str) -> tuple[str, str, str]:
    if None in row:  # where csv puts what is past the last column
        raise UserError(f"{where}: more values than columns; quote a prompt that holds commas")
    values = {column: tidy_caption(row[column]) for column in COLUMNS}
    for column, text in values.items():
        if text is None:
            raise UserError(f"{where}: the {column} is empty")
        if any(unicodedata.category(character) in UNFIT for character in text):
            raise UserError(f"{where}: the {column} holds control characters: {show(text)}")
    if values["set"] not in SETS:
        raise UserError(f"{where}: found set {show(values['set'])}; should be {' or '.join(SETS)}")
    return values["set"], values["class"], values["prompt"]


def check_distinct(prompts: pd.DataFrame) -> None:
    """Refuse prompts with one id: the pictures of one would be written over the other's."""
    shared = prompts[prompts["prompt_id"].duplicated(keep=False)].sort_values("prompt_id")
    if len(shared):
        first, second = shared["prompt"].head(2)
        raise UserError(
            f"prompts: {show(first)} and {show(second)} get the same file names; reword one"
        )


def make_prompt_id(prompt: str) -> str:
    """A file name that depends on the prompt alone: readable words and six hex digits."""
    ascii_text = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = re.sub("[^a-z0-9]+", "-", ascii_text).strip("-")[:MAX_SLUG].strip("-")
    return f"{slug or 'prompt'}-{hashlib.blake2b(prompt.encode(), digest_size=3).hexdigest()}"
