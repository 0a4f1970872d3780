"""Embed the pictures that samples are compared with by the scorer: all that was trained on.

Reads data/pairs.parquet; writes data/image_embeds.safetensors. A stage of its own: a change of a
key of `score` embeds nothing again.
"""

import itertools
import logging

import numpy as np
import pandas as pd

from stages.config import paths
from stages.config.params import load_params
from stages.files.embeds import PairEmbeds, write_pair_embeds
from stages.files.images import decode_image
from stages.files.pictures import IMAGE, read_parts, read_rows
from stages.files.tables import PAIRS_SCHEMA
from stages.run.entry import run_stage
from stages.scoring.embed import embed_images
from stages.scoring.metrics.dino import load_embedder
from stages.scoring.scorer import load_scorer

logger = logging.getLogger(__name__)

BATCH_SIZE = 64


def main() -> None:
    """Write ids, splits, classes and embeds, in the order of the pairs."""
    params = load_params()
    base = params.chosen
    if read_rows(paths.PAIRS, PAIRS_SCHEMA, "prepare").empty:  # pictures were handed in
        rows = pd.DataFrame(columns=["source_id", "split", "class"])
        write_pair_embeds(paths.IMAGE_EMBEDS, PairEmbeds(rows, np.empty((0, 1), np.float32)))
        logger.info("no pairs: nothing to compare with")
        return
    scorer = load_scorer(base.scorer, base.scorer_pretrained, base.scorer_revision)
    wants_dino = "dino" in params.score.extra_metrics
    embed_by_dino = load_embedder(scorer.device) if wants_dino else None
    parts, rows, by_dino = [], [], []
    for pairs in read_parts(paths.PAIRS, PAIRS_SCHEMA, "prepare", BATCH_SIZE):
        wanted = pairs[pairs["split"] != "validation"]
        if len(wanted):
            sources = zip(wanted[IMAGE], wanted["source_id"], strict=True)
            images = [decode_image(data, f"{paths.PAIRS}, {name}") for data, name in sources]
            parts.append(embed_images(scorer, images).numpy())
            rows.append(wanted[["source_id", "split", "class"]])
            is_held_out = wanted["split"] == "subject_held_out"
            held_out = list(itertools.compress(images, is_held_out))
            if embed_by_dino and held_out:
                by_dino.append(embed_by_dino(held_out).numpy())
    table = pd.concat(rows, ignore_index=True)
    dino_embeds = np.concatenate(by_dino) if by_dino else None
    write_pair_embeds(paths.IMAGE_EMBEDS, PairEmbeds(table, np.concatenate(parts), dino_embeds))
    logger.info("embed: %s", table["split"].value_counts().to_dict())


if __name__ == "__main__":
    run_stage(main)
