"""What is known of each metric: written once with the scores, read by all that show a number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from stages.config.mistakes import UserError
from stages.files.tables import read_json, write_json

Direction = Literal["higher", "lower", "neither"]
SETS = ("in_domain", "marketing", "subject")
"""Of prompts."""


class Facts(BaseModel):
    """A metric in data/scores/V.json, under its name.

    Attributes:
        label: What people call it.
        column: Where the scores have it; "" for a metric of several pictures.
        unit: Of how many pictures it is a number: one, those of a prompt, or all of a set.
        direction: Which way is better, by set of prompts.
        scale: What its values mean, and how far they reach.
        source: Who described it.
        model: Which model sees the picture.
        weights: Which weights that model has.
        preprocessing: How a picture gets into it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    column: str
    unit: Literal["picture", "prompt", "set"]
    direction: dict[str, Direction]
    scale: str
    source: str
    model: str
    weights: str
    preprocessing: str


_FACTS = TypeAdapter(dict[str, Facts])


def write_facts(facts: Mapping[str, Facts], path: Path) -> None:
    """Write the facts of all metrics, by name."""
    write_json(_FACTS.dump_python(dict(facts)), path)


def read_facts(path: Path) -> dict[str, Facts]:
    """Read the facts of all metrics, by name.

    Raises:
        UserError: The file is missing, or an entry is wrong.
    """
    return parse_facts(read_json(path, "score"), str(path))


def parse_facts(values: Mapping[str, Any], name: str) -> dict[str, Facts]:
    """Check facts from wherever they are, as `read_facts`; messages call them `name`."""
    try:
        return _FACTS.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{name}: {where}: found {first['input']!r}; {first['msg']}; run `dvc repro score`"
        ) from None
