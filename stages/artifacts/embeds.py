"""Embeds of pictures, read without torch."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file


def read_image_embeds(path: Path, stage: str) -> NDArray[np.float32]:
    """Read `image_embeds`, (N, E), of a safetensors file.

    Args:
        path: The file.
        stage: The stage that makes the file.

    Raises:
        FileNotFoundError: Names the stage that makes the file.
        ValueError: The file is broken or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; run `dvc repro {stage}`, which writes it")
    try:
        return load_file(path)["image_embeds"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: no image_embeds ({error}); run `dvc repro {stage}`") from None
