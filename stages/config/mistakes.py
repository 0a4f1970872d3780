"""Words for mistakes in params.yaml: a line each with the key, what was found, what is allowed."""

import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

MAX_SHOWN = 60
CONFLICT = re.compile("^<{7} ", re.MULTILINE)
"""How a merge conflict begins."""
EDIT = "keep what you want of both sides, and take out the lines <<<<<<<, ======= and >>>>>>>"

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "dict": "a section with keys",
    "model": "a section with keys",
}
"""What pydantic's errors are of, by how their types begin: its own words are Python's."""


class UserError(ValueError):
    """What the user can mend, in words for the user; any other exception is a bug of ours."""


def explain(model: type[BaseModel], errors: Iterable[ErrorDetails]) -> list[str]:
    """A line for each mistake; a key that is missing because it is misspelt is told once."""
    lines, missing, guessed = [], {}, set()
    for error in errors:
        *parents, key = error["loc"]
        where = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            known = _list_keys(model, parents)
            guessed |= {(*parents, guess) for guess in _guess(str(key), known)}
            hint = suggest(str(key), known) or f"; known here: {enumerate_keys(known)}"
            lines.append(f"{where}: unknown key{hint}")
        elif error["type"] == "missing":
            missing[error["loc"]] = f"{where}: missing"
        else:
            lines.append(f"{where}: found {show(error['input'])}; {_word_allowed(error)}")
    lines += [line for loc, line in missing.items() if loc not in guessed]
    return [show_line(line, limit=None) for line in lines]


def refuse_conflict(text: str, path: Path, remedy: str = EDIT) -> None:
    """Say of a file that git merged in part that it is one, rather than what it breaks.

    Raises:
        UserError: It holds a merge conflict; says where, and what to do.
    """
    if found := CONFLICT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(f"{path}, line {line}: a merge conflict; {remedy}")


def show(value: object) -> str:
    """A value as it stands in the file, cut when it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # not JSON: a key that is a list, a cycle
        text = reprlib.repr(value)
    return show_line(text)


def show_line(text: str, limit: int | None = MAX_SHOWN) -> str:
    """A text on one line: blanks joined, what cannot be printed escaped, cut when it is long."""
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: limit and limit + 1])
    return text if limit is None or len(text) <= limit else text[:limit] + "…"


def enumerate_keys(keys: Iterable[object]) -> str:
    """Keys in a sentence."""
    return ", ".join(map(str, keys))


def enumerate_some(keys: Sequence[object], limit: int = 3) -> str:
    """The first keys in a sentence, and dots where there are more."""
    return enumerate_keys(keys[:limit]) + (", …" if len(keys) > limit else "")


def suggest(key: str, known: Iterable[str]) -> str:
    """The known key that was probably meant, as the end of a sentence; empty if none is near."""
    return "".join(f"; did you mean {guess}?" for guess in _guess(key, known))


def _guess(key: str, known: Iterable[str]) -> list[str]:
    known = list(known)
    same = [name for name in known if name.casefold() == key.casefold()]
    return same[:1] or get_close_matches(key, known, n=1)


def _list_keys(model: type[BaseModel], loc: Iterable[int | str]) -> list[str]:
    """The keys of the section at a place such as ("bases", "tiny", "data")."""
    section: Any = model
    for key in loc:
        if isinstance(section, type) and issubclass(section, BaseModel):
            named = {field.alias or name: field for name, field in section.model_fields.items()}
            section = named[str(key)].annotation
        else:  # dict[str, Section] or tuple[Section, ...]
            section = next(kind for kind in get_args(section) if hasattr(kind, "model_fields"))
    return [field.alias or name for name, field in section.model_fields.items()]


def _word_allowed(error: ErrorDetails) -> str:
    """What should be in the place of what was found."""
    kind, _, fault = error["type"].partition("_")
    if kind in KINDS and fault in ("type", "parsing", "from_float"):
        return f"should be {KINDS[kind]}"
    if error["type"] == "too_short":
        return f"should have {error['ctx']['min_length']} or more entries"
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return message[0].lower() + message[1:]
