"""Embeds of pictures in and out, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file

NORM_TOLERANCE = 1e-3


class Reference(NamedTuple):
    """What `reference` writes of the training pictures, in the order of the pairs.

    Attributes:
        image_embeds: (M, E) float32, unit-norm.
        class_index: (M,) int64, rows of `prepare.classes`; -1 for a picture without a class.
    """

    image_embeds: NDArray[np.float32]
    class_index: NDArray[np.int64]


def read_image_embeds(path: Path, stage: str) -> NDArray[np.float32]:
    """Read `image_embeds`, (N, E), of a safetensors file.

    Args:
        path: The file.
        stage: The stage that makes the file.

    Raises:
        UserError: Names the stage that makes the file.
        UserError: The file is broken or holds something else.
    """
    return _read_arrays(path, ("image_embeds",), stage)["image_embeds"]


def read_reference(path: Path) -> Reference:
    """Read the embeds of the training pictures; see `read_image_embeds` for what it raises."""
    reference = Reference(**_read_arrays(path, Reference._fields, "reference"))
    if len(reference.image_embeds) != len(reference.class_index):
        raise UserError(f"{path}: its arrays are of different lengths; run `dvc repro reference`")
    return reference


def write_embeds(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name, whole or not at all; `image_embeds` among them, of unit norm."""
    norms = np.linalg.norm(arrays["image_embeds"], axis=1)
    if not np.allclose(norms, 1, rtol=0, atol=NORM_TOLERANCE):
        raise UserError(f"{path}: the scorer gave an embed that is not finite; its weights are bad")
    with replace_file(path) as partial:
        partial.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def _read_arrays(path: Path, names: tuple[str, ...], stage: str) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise UserError(f"no file {path}; run `dvc repro {stage}`, which writes it")
    try:
        arrays = load_file(path)
        return {name: arrays[name] for name in names}
    except (SafetensorError, KeyError) as error:
        raise UserError(
            f"{path}: no {' and '.join(names)} ({error}); run `dvc repro {stage}`"
        ) from None
