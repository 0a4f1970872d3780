"""The prompts to sample: templates filled with classes, marketing prompts, and those of a file."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stages.config.mistakes import UserError, show
from stages.config.params import PromptsParams, Protocol
from stages.files.captions import fill_template
from stages.files.taught import Taught
from stages.sources.rows import read_rows, tidy_text
from stages.sources.walking import is_file, word_missing

MAX_SLUG = 40
SETS = ("in_domain", "marketing")
COLUMNS = ["set", "class", "prompt"]


class Row(NamedTuple):
    """A prompt; `finetuned_prompt` where the fine-tuned model is asked for something else.

    `protocol` is the narrowest that has it: the broad one has the paper's, too. `where` is its key
    in params.yaml, or its line in a file.
    """

    set: str
    class_name: str
    prompt: str
    finetuned_prompt: str | None = None
    protocol: Protocol = "broad"
    where: str = "prompts.subject_templates"


def build_prompts(
    classes: Sequence[str], params: PromptsParams, subject: Sequence[Row] = ()
) -> pd.DataFrame:
    """Fill every class template with every class; add marketing prompts, the file's, the subject's.

    Args:
        classes: Of the domain that is trained on.
        params: Templates, marketing prompts and the name of the file.
        subject: Rows of `list_subject_prompts`.

    Raises:
        UserError: There is no such file, a row of it is wrong, or two prompts come out the same
            or would share their files.
    """
    lists: list[tuple[Protocol, str, Any]] = [
        ("paper", "prompts.", (params.class_templates, params.marketing))
    ]
    if params.protocol == "broad":
        added = (params.added_class_templates, params.added_marketing)
        lists.append(("broad", "prompts.added_", added))
    rows = [
        Row(
            "in_domain",
            name,
            fill_template(template, name),
            None,
            protocol,
            f"{key}class_templates",
        )
        for name in classes
        for protocol, key, (templates, _) in lists
        for template in templates
    ]
    rows += [
        Row("marketing", row.class_name, row.prompt, None, protocol, f"{key}marketing")
        for protocol, key, (_, marketing) in lists
        for row in marketing
    ]
    rows += read_prompts(Path(params.file))
    table = pd.DataFrame([*rows, *subject], columns=Row._fields)
    table = table.rename(columns={"class_name": "class"})
    table["finetuned_prompt"] = table["finetuned_prompt"].fillna(table["prompt"])
    # A subject's prompt may be a class prompt as well; its name says that it is another one.
    ids = [
        make_prompt_id(row.prompt, "subject-" if row.set == "subject" else "")
        for row in table.itertuples()
    ]
    table.insert(0, "prompt_id", ids)
    check_distinct(table)
    return table.drop(columns="where")


def list_subject_prompts(taught: Taught, templates: Sequence[str]) -> list[Row]:
    """The baseline is asked for the class, the fine-tuned model for what it learned."""
    name = taught.subject.class_name
    return [
        Row("subject", name, fill_template(text, name), fill_template(text, taught.learned))
        for text in templates
    ]


def read_prompts(path: Path) -> list[Row]:
    """Set, class and prompt of each row of a CSV; further columns are not read.

    Blanks at the ends, and all but one between two words, are dropped.

    Raises:
        UserError: There is no such file.
        UserError: It is no CSV with these columns, or a row is wrong: its line, what is allowed.
    """
    if not is_file(path):
        raise word_missing(path, "prompts.file", "file")
    table = read_rows(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise UserError(
            f"{table.header}: no column {', '.join(missing)}; the first line should be "
            f"{','.join(COLUMNS)}"
        )
    return [_check_row(row, where) for where, row in table.rows]


def _check_row(row: Mapping[str, object], where: str) -> Row:
    values = {column: tidy_text(row.get(column), column, where) for column in COLUMNS}
    if values["set"] not in SETS:
        raise UserError(f"{where}: found set {show(values['set'])}; should be {' or '.join(SETS)}")
    return Row(values["set"], values["class"], values["prompt"], where=where)


def check_distinct(prompts: pd.DataFrame) -> None:
    """Refuse prompts that are the same, or whose pictures would have the same names."""
    shared = prompts[prompts["prompt_id"].duplicated(keep=False)]
    shared = shared.sort_values("prompt_id", kind="stable")
    if len(shared):
        first, second = shared["prompt"].head(2)
        what = "is there twice" if first == second else f"and {show(second)} get the same names"
        places = " and ".join(shared["where"].head(2))
        raise UserError(f"prompts: {show(first)} {what} ({places}); reword one")


def make_prompt_id(prompt: str, prefix: str = "") -> str:
    """A name that depends only on the prompt: readable words and six hex digits."""
    ascii_text = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = re.sub("[^a-z0-9]+", "-", ascii_text).strip("-")[:MAX_SLUG].strip("-")
    digest = hashlib.blake2b(prompt.encode(), digest_size=3).hexdigest()
    return f"{prefix}{slug or 'prompt'}-{digest}"
