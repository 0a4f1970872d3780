"""Embed the training pictures with the scorer, so that samples can be compared with them.

Reads data/pairs.parquet; writes data/reference.safetensors. A stage of its own: a change of a key
of `score` embeds nothing again.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.embeds import Reference, write_embeds
from stages.artifacts.images import decode_image
from stages.artifacts.tables import read_pairs
from stages.config import paths
from stages.config.entry import run_stage
from stages.config.params import load_params
from stages.scoring.embed import embed_images
from stages.scoring.scorer import Scorer, load_scorer

logger = logging.getLogger(__name__)

BATCH_SIZE = 64


def main() -> None:
    """Write the embeds and classes of the training pictures, in the order of the pairs."""
    params = load_params()
    pairs = read_pairs(paths.PAIRS, ["image", "class", "split", "source_id"])
    pairs = pairs[pairs["split"] == "train"]

    scorer = load_scorer(params.chosen.scorer, params.chosen.scorer_pretrained)
    names = [f"{paths.PAIRS}, {source_id}" for source_id in pairs["source_id"]]
    image_embeds = embed_pictures(scorer, pairs["image"].tolist(), names)
    class_index = index_classes(pairs["class"].tolist(), params.prepare.classes)

    write_embeds(paths.REFERENCE, Reference(image_embeds, class_index)._asdict())
    logger.info("reference: %d training pictures embedded", len(pairs))


def embed_pictures(scorer: Scorer, pictures: list[bytes], names: list[str]) -> NDArray[np.float32]:
    """Unit-norm embeds (M, E) of M encoded pictures; `names` tell them apart in errors."""
    parts = []
    for start in range(0, len(pictures), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        images = [
            decode_image(data, name)
            for data, name in zip(pictures[batch], names[batch], strict=True)
        ]
        parts.append(embed_images(scorer, images).numpy())
    return np.concatenate(parts)


def index_classes(names: list[str | None], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Each picture's place in `classes`, (M,); -1 for none of them."""
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places.get(name or "", -1) for name in names], np.int64)


if __name__ == "__main__":
    run_stage(main)
