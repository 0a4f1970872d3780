"""The training split of CIFAR-10, as torchvision keeps it: found in `root`, or downloaded to it.

torchvision checks the files' MD5 before it reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import DataParams
from stages.sources.source import Entry, Source

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

ARCHIVE_MB = 170
"""https://www.cs.toronto.edu/~kriz/cifar.html gives 163 MiB."""


def open_source(data: DataParams, classes: Sequence[str]) -> Source:
    """List CIFAR-10's pictures, their classes by name.

    Raises:
        UserError: A class is not one of CIFAR-10's.
        UserError: The files are not in `root` and cannot be downloaded.
    """
    dataset = _load_dataset(data.path)
    unknown = [name for name in classes if name not in dataset.classes]
    if unknown:
        has = ", ".join(dataset.classes)
        raise UserError(f"prepare.classes: CIFAR-10 has no {', '.join(unknown)}; it has {has}")
    entries = [
        Entry(f"cifar10/train/{row}", dataset.classes[label])
        for row, label in enumerate(dataset.targets)
    ]
    return Source("cifar10", entries, lambda row: Image.fromarray(dataset.data[row]))


def _load_dataset(root: Path) -> "CIFAR10":
    from torchvision.datasets import CIFAR10  # noqa: PLC0415 - slow, and only this source needs it

    try:
        return CIFAR10(str(root), train=True, download=True)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"CIFAR-10 is not in {root} and cannot be downloaded ({reason}); put "
            f"{CIFAR10.filename} ({ARCHIVE_MB} MB, MD5 {CIFAR10.tgz_md5}), from {CIFAR10.url}, "
            f"into {root}"
        ) from None
