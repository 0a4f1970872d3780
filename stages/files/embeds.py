"""Embeds of pictures in and out, without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file
from stages.files.tables import require_file

NORM_TOLERANCE = 1e-3
ROWS = "rows"
"""Where the file's metadata says, as JSON, which picture each row is of."""


class PairEmbeds(NamedTuple):
    """What `embed` writes of the pictures that were trained on or belong to the subject.

    Attributes:
        rows: Columns source_id, split and class, in the order of the pairs.
        image_embeds: (M, E) float32, unit-norm.
        dino_embeds: Of the subject's held-out pictures by DINO, (R, D) float32, unit-norm; None
            unless asked for.
    """

    rows: pd.DataFrame
    image_embeds: NDArray[np.float32]
    dino_embeds: NDArray[np.float32] | None = None

    def select(self, split: str) -> "PairEmbeds":
        """Those of one split."""
        wanted = (self.rows["split"] == split).to_numpy()
        return PairEmbeds(self.rows[wanted], self.image_embeds[wanted])


def read_pair_embeds(path: Path) -> PairEmbeds:
    """Read what `embed` wrote; see `read_image_embeds` for what it raises."""
    arrays, metadata = _read(path, "embed")
    image_embeds = arrays["image_embeds"]
    rows = pd.DataFrame(json.loads(metadata.get(ROWS, "{}")))
    if len(rows) != len(image_embeds):
        raise UserError(f"{path}: its parts are of different lengths; run `dvc repro embed`")
    return PairEmbeds(rows, image_embeds, arrays.get("dino_embeds"))


def write_pair_embeds(path: Path, embeds: PairEmbeds) -> None:
    """Write embeds with what is known of each row."""
    rows = embeds.rows.astype(object).where(embeds.rows.notna(), None).to_dict("list")
    more = {} if embeds.dino_embeds is None else {"dino_embeds": embeds.dino_embeds}
    write_image_embeds(path, embeds.image_embeds, {ROWS: json.dumps(rows)}, more)


def read_image_embeds(path: Path, stage: str) -> NDArray[np.float32]:
    """Read embeds, (N, E); `stage` is what makes the file.

    Raises:
        UserError: The file is missing, broken, or holds something else.
    """
    return _read(path, stage)[0]["image_embeds"]


def write_image_embeds(
    path: Path,
    image_embeds: NDArray[Any],
    metadata: Mapping[str, str] | None = None,
    more: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write embeds, (N, E), of unit norm, and `more` of other models, whole or not at all."""
    arrays = {"image_embeds": image_embeds, **(more or {})}
    for name, embeds in arrays.items():
        if not np.allclose(np.linalg.norm(embeds, axis=1), 1, rtol=0, atol=NORM_TOLERANCE):
            raise UserError(f"{path}: {name} are not finite; the weights of their model are bad")
    arrays = {name: np.ascontiguousarray(embeds) for name, embeds in arrays.items()}
    with replace_file(path) as partial:
        partial.write_bytes(save(arrays, dict(metadata or {})))


def _read(path: Path, stage: str) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    require_file(path, stage)
    try:
        with safe_open(path, framework="numpy") as file:
            names = {"image_embeds", *file.keys()}
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path}: no image_embeds ({error}); run `dvc repro {stage}`") from None
