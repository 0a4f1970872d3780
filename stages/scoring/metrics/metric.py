"""What a metric is: what it says of itself, what it may look at, and how it is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stages.files.facts import SETS, Direction, Facts


class Origin(NamedTuple):
    """Which model with which weights a number comes from, and how a picture gets into it."""

    model: str
    weights: str
    preprocessing: str


PIXELS = Origin("none", "none", "pixels as sampled: RGB, 8 bits a channel, not resized")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a metric before it is computed."""

    name: str
    label: str
    direction: Direction
    """Which way is better."""
    exceptions: Mapping[str, Direction] = field(default_factory=dict)
    """Sets of prompts where another way is."""
    unit: Literal["picture", "prompt", "set"] = "picture"
    column: str = ""
    """Of a picture's metric, in data/scores/V.csv; "": its name."""
    scale: str
    source: str
    origin: Origin | None = None
    """None: the scorer of the chosen base."""

    def __post_init__(self) -> None:
        """Name the column."""
        if self.unit == "picture":
            object.__setattr__(self, "column", self.column or self.name)

    def describe(self, scorer: Origin) -> Facts:
        """The facts; `scorer` stands in where the metric has no origin of its own."""
        return Facts(
            label=self.label,
            column=self.column,
            unit=self.unit,
            direction={name: self.exceptions.get(name, self.direction) for name in SETS},
            scale=self.scale,
            source=self.source,
            **(self.origin or scorer)._asdict(),
        )


@dataclass(frozen=True)
class Batch:
    """B pictures of one variant, with their prompts and their embeds."""

    samples: pd.DataFrame
    """Their rows of `SAMPLES_SCHEMA`."""
    images: Sequence[Image.Image]
    image_embeds: Tensor
    """Unit-norm, (B, E)."""
    text_embeds: Tensor
    """Of each picture's own prompt: unit-norm, (B, E)."""

    @cached_property
    def pixels(self) -> list[NDArray[np.float64]]:
        """(H, W, 3) in [0, 1] each."""
        return [np.asarray(image.convert("RGB"), np.float64) / 255 for image in self.images]


@dataclass(frozen=True)
class Context:
    """What is the same for every picture of a variant."""

    classes: Sequence[str]
    """C names, `prepare.classes` first."""
    class_embeds: Tensor
    """Of the text of each class: unit-norm, (C, E)."""
    text_embeds: Mapping[str, Tensor]
    """Of each distinct prompt: unit-norm, (E,)."""
    prompt_embeds: Mapping[str, Tensor]
    """Of the distinct prompts of each set: unit-norm, (P, E)."""
    training_ids: Sequence[str]
    """Of the M training pictures."""
    training_embeds: Tensor
    """Of the training pictures: unit-norm, (M, E)."""
    training_classes: Tensor
    """Their rows of `classes`, (M,) int64; -1 for none."""
    subject_embeds: Tensor
    """Of the subject's pictures that are held out: unit-norm, (R, E); of none, for most methods."""
    dino_embeds: Tensor | None = None
    """Of the same by DINO: unit-norm, (R, D); None unless `score.extra_metrics` has it."""


Compute = Callable[[Batch, Context], list[Any]]
"""B values, one a picture."""


@dataclass(frozen=True, kw_only=True)
class Metric(Description):
    """A metric of a picture, and how it is computed."""

    compute: Compute
