"""Which metrics there are: those that `score` names in data/scores/V.json, and no others."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from stages.config.mistakes import UserError

Better = Literal["higher", "lower", "neither"]

MAIN_METRIC = "clip_cosine"
DISTANCES = ("kid", "cmmd")
"""Metrics of a whole set of pictures: one number a set."""
DIVERSITY = "diversity"
"""A metric of the pictures of a prompt: one number a prompt."""

_COLUMNS = {"zero_shot_accuracy": "is_correct"}
_IN_DOMAIN_ONLY = {"training_similarity"}
"""Better if higher where the domain is wanted; elsewhere it says only that it has spread."""


class Metric(NamedTuple):
    """A metric of one picture: its name, its column in a score table, which way is better."""

    name: str
    column: str
    better: Better

    def better_in(self, set_name: str) -> Better:
        """Which way is better for prompts of this set."""
        is_foreign = self.name in _IN_DOMAIN_ONLY and set_name != "class"
        return "neither" if is_foreign else self.better


def list_metrics(provenance: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """The metrics of a picture in a provenance file, in its order.

    Raises:
        UserError: Says which metric has a direction that is none.
    """
    for name, entry in provenance.items():
        if entry.get("better") not in get_args(Better):
            raise UserError(
                f"data/scores: metric {name} is better when {entry.get('better')!r}; should be "
                f"{', '.join(get_args(Better))}; run `dvc repro score`"
            )
    return [
        Metric(name, _COLUMNS.get(name, name), entry["better"])
        for name, entry in provenance.items()
        if name not in (*DISTANCES, DIVERSITY)
    ]
