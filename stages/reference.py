"""Embed the training pictures with the scorer, so that samples can be compared with them.

Reads data/pairs.parquet; writes data/reference.safetensors. A stage of its own: a change of a key
of `score` embeds nothing again.
"""

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.config import paths
from stages.config.params import load_params
from stages.files.embeds import Reference, write_embeds
from stages.files.images import decode_image
from stages.files.pairs import read_parts
from stages.run.entry import run_stage
from stages.scoring.embed import embed_images
from stages.scoring.scorer import Scorer, load_scorer

logger = logging.getLogger(__name__)

BATCH_SIZE = 64


def main() -> None:
    """Write the embeds and classes of the training pictures, in the order of the pairs."""
    params = load_params()
    scorer = load_scorer(params.chosen.scorer, params.chosen.scorer_pretrained)
    parts, names = [], []
    for pairs in read_parts(paths.PAIRS, BATCH_SIZE):
        train = pairs[pairs["split"] == "train"]
        if len(train):
            parts.append(embed_pictures(scorer, train))
            names += train["class"].tolist()
    image_embeds = np.concatenate(parts)
    class_index = index_classes(names, params.prepare.classes)

    write_embeds(paths.REFERENCE, Reference(image_embeds, class_index)._asdict())
    logger.info("reference: %d training pictures embedded", len(image_embeds))


def embed_pictures(scorer: Scorer, pairs: pd.DataFrame) -> NDArray[np.float32]:
    """Unit-norm embeds (B, E) of the pictures of B pairs."""
    images = [
        decode_image(data, f"{paths.PAIRS}, {source_id}")
        for data, source_id in zip(pairs["image"], pairs["source_id"], strict=True)
    ]
    return embed_images(scorer, images).numpy()


def index_classes(names: list[str | None], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Each picture's place in `classes`, (M,); -1 for none of them."""
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places.get(name or "", -1) for name in names], np.int64)


if __name__ == "__main__":
    run_stage(main)
