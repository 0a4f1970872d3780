"""Encode pictures and captions once, so that training touches neither encoder.

Reads data/pairs.parquet, the base's VAE and text encoder; writes data/latents.safetensors and
data/prompt_embeds.safetensors.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.base.components import load_text_encoder, load_vae
from stages.base.device import choose_device
from stages.base.latents import encode_posterior, measure_latents, to_pixel_values
from stages.base.prompts import encode_distinct
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import BaseParams, load_params
from stages.files.images import decode_image
from stages.files.pictures import read_parts, read_rows
from stages.files.tables import PAIRS_SCHEMA
from stages.files.tensors import (
    Latents,
    build_latents,
    build_prompt_embeds,
    encode_nothing,
    map_tensor,
    write_tensors,
)
from stages.run.entry import run_stage
from stages.run.scratch import use_folder

logger = logging.getLogger(__name__)

BATCH_SIZE = 16


def main() -> None:
    """Write the latents and caption embeddings of all pairs."""
    base = load_params().chosen
    pairs = read_rows(paths.PAIRS, PAIRS_SCHEMA, "prepare")
    if pairs.empty:  # pictures were handed in
        latents, prompt_embeds = encode_nothing()
        write_tensors(paths.LATENTS, latents._asdict())
        write_tensors(paths.PROMPT_EMBEDS, prompt_embeds._asdict())
        logger.info("no pairs: nothing to encode")
        return
    logger.info("encode: %d pairs with %s", len(pairs), base.model)
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    with use_folder("encode") as folder:
        distinct, embeds = encode_distinct(tokenizer, text_encoder, pairs["caption"], folder)
        index = pd.Index(distinct).get_indexer(pairs["caption"])
        write_tensors(paths.PROMPT_EMBEDS, build_prompt_embeds(embeds, index)._asdict())
        latents = encode_images(base, pairs["split"].tolist(), folder)
        write_tensors(paths.LATENTS, latents._asdict())


def encode_images(base: BaseParams, splits: list[str], folder: Path) -> Latents:
    """The VAE's posterior of each picture, in the order of the pairs, in files in `folder`."""
    vae = load_vae(base, choose_device())
    shape = (len(splits), *measure_latents(vae, base.resolution_px))
    mean, std = (map_tensor(folder / name, shape) for name in ("mean", "std"))
    first = 0
    with tqdm(total=len(splits), desc="encode", unit="picture") as bar:
        for pairs in read_parts(paths.PAIRS, PAIRS_SCHEMA, "prepare", BATCH_SIZE):
            rows = slice(first, first := first + len(pairs))
            images = decode_pictures(pairs, base.resolution_px)
            mean[rows], std[rows] = encode_posterior(vae, to_pixel_values(images))
            bar.update(len(pairs))
    return build_latents(mean, std, splits, vae.config.scaling_factor)


def decode_pictures(rows: pd.DataFrame, resolution_px: int) -> np.ndarray:
    """Uint8 pictures (B, H, W, 3).

    Raises:
        UserError: A picture is not whole or not of the base's resolution.
    """
    pictures = []
    for data, source_id in zip(rows["image"], rows["source_id"], strict=True):
        image = decode_image(data, f"{paths.PAIRS}, {source_id}")
        if image.size != (resolution_px, resolution_px):
            raise UserError(
                f"{paths.PAIRS}, {source_id}: {image.width} x {image.height} px, expected "
                f"{resolution_px} px square; run `dvc repro prepare`"
            )
        pictures.append(np.asarray(image))
    return np.stack(pictures)


if __name__ == "__main__":
    run_stage(main)
