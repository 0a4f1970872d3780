"""Open the source that params name."""

from collections.abc import Callable, Sequence

from stages.config.params import DataParams
from stages.sources import cifar10, drawn, imagefolder, parquet
from stages.sources.source import Source

OPENERS: dict[str, Callable[[DataParams, Sequence[str]], Source]] = {
    "drawn": drawn.open_source,
    "cifar10": cifar10.open_source,
    "parquet": parquet.open_source,
    "imagefolder": imagefolder.open_source,
}


def open_source(data: DataParams, classes: Sequence[str]) -> Source:
    """List the pictures of the chosen source; `classes` are those that may occur, label 0 first.

    Raises:
        UserError: The source does not fit the params; says what to change.
        UserError: Its files are missing.
    """
    return OPENERS[data.source](data, classes)
