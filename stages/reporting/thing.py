"""The section on the one thing that textual_inversion or dreambooth was taught."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

Rows = list[dict[str, Any]]
NUM_TAUGHT = 12
NUM_SHOWN_PER_PROMPT = 2


class Thing(NamedTuple):
    """What `resemblance` found.

    Attributes:
        metrics: Of metrics/instance.json.
        pairs: A row a picture: prompts and resemblance of both variants.
        taught: The pictures that were trained on, encoded.
        files: The sampled ones, encoded, as "VARIANT/FILE".
    """

    metrics: Mapping[str, Any]
    pairs: pd.DataFrame
    taught: Sequence[bytes]
    files: Mapping[str, bytes]


class Shown(NamedTuple):
    """What the page shows of it: numbers, names of taught pictures, and rows of both variants."""

    metrics: Mapping[str, Any]
    taught: Sequence[str]
    pairs: Rows


def show_thing(thing: Thing | None) -> Shown | None:
    """The first pictures that were taught, and the first of each prompt."""
    if thing is None:
        return None
    taught = [f"thing/{number}" for number in range(len(thing.taught[:NUM_TAUGHT]))]
    shown = thing.pairs[thing.pairs["index"] < NUM_SHOWN_PER_PROMPT]
    return Shown(thing.metrics, taught, shown.to_dict("records"))


def name_thing_pictures(thing: Thing | None) -> dict[str, bytes]:
    """The pictures that `show_thing` shows, by the names that the page uses."""
    shown = show_thing(thing)
    if thing is None or shown is None:
        return {}
    taught = dict(zip(shown.taught, thing.taught, strict=False))
    sampled = {
        f"thing/{variant}/{row['file_name']}": thing.files[f"{variant}/{row['file_name']}"]
        for row in shown.pairs
        for variant in ("baseline", "finetuned")
    }
    return taught | sampled
