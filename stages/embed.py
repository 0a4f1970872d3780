"""Embed the pictures that samples are compared with by the scorer: all that was trained on.

Reads data/pairs.parquet; writes data/image_embeds.safetensors. A stage of its own: a change of a
key of `score` embeds nothing again.
"""

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
from stages.scoring.scorer import load_scorer

logger = logging.getLogger(__name__)

BATCH_SIZE = 64


def main() -> None:
    """Write ids, splits, classes and embeds, in the order of the pairs."""
    base = load_params().chosen
    if read_rows(paths.PAIRS, PAIRS_SCHEMA, "prepare").empty:  # pictures were handed in
        rows = pd.DataFrame(columns=["source_id", "split", "class"])
        write_pair_embeds(paths.IMAGE_EMBEDS, PairEmbeds(rows, np.empty((0, 1), np.float32)))
        logger.info("no pairs: nothing to compare with")
        return
    scorer = load_scorer(base.scorer, base.scorer_pretrained, base.scorer_revision)
    parts, rows = [], []
    for pairs in read_parts(paths.PAIRS, PAIRS_SCHEMA, "prepare", BATCH_SIZE):
        wanted = pairs[pairs["split"] != "validation"]
        if len(wanted):
            sources = zip(wanted[IMAGE], wanted["source_id"], strict=True)
            images = [decode_image(data, f"{paths.PAIRS}, {name}") for data, name in sources]
            parts.append(embed_images(scorer, images).numpy())
            rows.append(wanted[["source_id", "split", "class"]])
    table = pd.concat(rows, ignore_index=True)
    write_pair_embeds(paths.IMAGE_EMBEDS, PairEmbeds(table, np.concatenate(parts)))
    logger.info("embed: %s", table["split"].value_counts().to_dict())


if __name__ == "__main__":
    run_stage(main)
