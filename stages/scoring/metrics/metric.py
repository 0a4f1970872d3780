"""What a metric is: what it says of itself, what it may look at, and how it is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Better = Literal["higher", "lower", "neither"]


class Origin(NamedTuple):
    """Which model with which weights a number comes from, and how a picture gets into it."""

    model: str
    weights: str
    preprocessing: str


PIXELS = Origin("none", "none", "pixels as sampled: RGB, 8 bits a channel, not resized")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a metric in data/scores/V.json."""

    name: str
    label: str
    better: Better
    scale: str
    source: str
    origin: Origin | None = None
    """None: the scorer of the chosen base."""

    def describe(self, scorer: Origin) -> dict[str, str]:
        """Provenance as text; `scorer` stands in where the metric has no origin of its own."""
        origin = self.origin or scorer
        return {
            "label": self.label,
            "better": self.better,
            "scale": self.scale,
            **origin._asdict(),
            "source": self.source,
        }


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
    training_embeds: Tensor
    """Of the training pictures: unit-norm, (M, E)."""
    training_classes: Tensor
    """Their rows of `classes`, (M,) int64; -1 for none."""


Compute = Callable[[Batch, Context], list[Any]]
"""B values, one a picture."""


@dataclass(frozen=True, kw_only=True)
class Metric(Description):
    """A metric of a picture, in the column `column` of data/scores/V.csv."""

    compute: Compute
    column: str = ""

    def __post_init__(self) -> None:
        """A column is named after its metric unless it says otherwise."""
        object.__setattr__(self, "column", self.column or self.name)
