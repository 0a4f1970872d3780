"""Encode pictures and captions once, so that training touches neither encoder.

Reads data/pairs.parquet, the base's VAE and text encoder; writes data/latents.safetensors and
data/prompt_embeds.safetensors.
"""

import logging

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.artifacts.images import decode_image
from stages.artifacts.tables import read_pairs
from stages.artifacts.tensors import (
    Latents,
    PromptEmbeds,
    build_latents,
    build_prompt_embeds,
    write_latents,
    write_prompt_embeds,
)
from stages.config import paths
from stages.config.entry import run_stage
from stages.config.params import BaseParams, load_params
from stages.diffusion.components import choose_device, load_text_encoder, load_vae
from stages.diffusion.latents import encode_posterior, to_pixel_values
from stages.diffusion.prompts import encode_prompts, warn_of_cuts
from stages.diffusion.sampling import measure_latents

logger = logging.getLogger(__name__)

BATCH_SIZE = 16


def main() -> None:
    """Write the latents and caption embeddings of all pairs."""
    base = load_params().chosen
    pairs = read_pairs(paths.PAIRS)
    logger.info("encode: %d pairs with %s", len(pairs), base.model)
    embeds = encode_captions(base, pairs["caption"].tolist())
    latents = encode_images(base, pairs)
    write_latents(paths.LATENTS, latents)
    write_prompt_embeds(paths.PROMPT_EMBEDS, embeds)


def encode_images(base: BaseParams, pairs: pd.DataFrame) -> Latents:
    """The VAE's posterior of each picture, in the order of the pairs."""
    vae = load_vae(base, choose_device())
    measure_latents(vae, base.resolution_px)
    parts = []
    with tqdm(total=len(pairs), desc="encode", unit="picture") as bar:
        for first in range(0, len(pairs), BATCH_SIZE):
            images = decode_pictures(pairs.iloc[first : first + BATCH_SIZE], base.resolution_px)
            parts.append(encode_posterior(vae, to_pixel_values(images)))
            bar.update(len(images))
    is_train = (pairs["split"] == "train").tolist()
    return build_latents(parts, is_train, vae.config.scaling_factor)


def decode_pictures(rows: pd.DataFrame, resolution_px: int) -> np.ndarray:
    """Uint8 pictures (B, H, W, 3).

    Raises:
        ValueError: A picture is not whole or not of the base's resolution.
    """
    pictures = []
    for data, source_id in zip(rows["image"], rows["source_id"], strict=True):
        image = decode_image(data, f"{paths.PAIRS}, {source_id}")
        if image.size != (resolution_px, resolution_px):
            raise ValueError(
                f"{paths.PAIRS}, {source_id}: {image.width} x {image.height} px, expected "
                f"{resolution_px} px square; run `dvc repro prepare`"
            )
        pictures.append(np.asarray(image))
    return np.stack(pictures)


def encode_captions(base: BaseParams, captions: list[str]) -> PromptEmbeds:
    """The embedding of "" and of each distinct caption; captions past the limit are named."""
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    distinct = list(dict.fromkeys(["", *captions]))
    warn_of_cuts(tokenizer, distinct)
    index = {caption: row for row, caption in enumerate(distinct)}
    rows = [index[caption] for caption in captions]
    return build_prompt_embeds(encode_prompts(tokenizer, text_encoder, distinct), rows)


if __name__ == "__main__":
    run_stage(main)
