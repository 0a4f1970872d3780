"""Sample a variant's pictures: `python -m stages.sample baseline` or `... finetuned`.

Reads data/prompts.csv, the base and for finetuned models/finetuned/; writes data/samples/VARIANT/.
Both variants start from the same noise. Finished batches wait in scratch/, so that a run that was
killed goes on after them.
"""

import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from stages.artifacts.images import write_png
from stages.artifacts.tables import read_json, read_prompts, write_json, write_table
from stages.artifacts.tensors import hash_inputs, read_finetuned
from stages.config import paths
from stages.config.entry import run_stage
from stages.config.params import BaseParams, Params, load_params
from stages.diffusion.components import (
    choose_device,
    choose_precision,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.diffusion.denoise import build_scheduler
from stages.diffusion.identity import fingerprint_weights
from stages.diffusion.methods import apply_checkpoint
from stages.diffusion.noise import derive_seed
from stages.diffusion.prompts import encode_prompts, warn_of_cuts
from stages.diffusion.sampling import (
    Sampler,
    build_workers,
    cast_unet,
    measure_latents,
    sample_pictures,
)

logger = logging.getLogger(__name__)


def main(variant: str = "") -> None:
    """Write the pictures of a variant and their metadata.csv."""
    if variant not in paths.VARIANTS:
        raise ValueError(f"found variant {variant!r}; should be {' or '.join(paths.VARIANTS)}")
    params = load_params()
    rows = plan_pictures(read_prompts(paths.PROMPTS), params)
    logger.info("sample: %d pictures, %s of %s", len(rows), variant, params.chosen.model)
    sampler, identity = build_sampler(variant, params, rows["prompt"].unique().tolist())
    values = {"variant": variant, "identity": identity, "rows": rows.to_dict("list")}
    values |= {"base": params.chosen.model_dump(), "sample": params.sample.model_dump()}
    scratch = paths.SCRATCH / "sample" / hash_inputs(values)
    is_finite = sample_batches(sampler, rows, params.sample.batch_size, scratch)
    write_table(rows.assign(is_finite=is_finite), scratch / "pictures" / "metadata.csv")
    publish(scratch, paths.SAMPLES / variant)
    logger.info("sample: %d of %d not finite", len(rows) - sum(is_finite), len(rows))


def plan_pictures(prompts: pd.DataFrame, params: Params) -> pd.DataFrame:
    """The metadata of each picture to sample, in order; all but `is_finite`."""
    counts = {
        "class": params.sample.images_per_class_prompt,
        "marketing": params.sample.images_per_marketing_prompt,
    }
    rows = [
        {
            "file_name": f"{prompt['prompt_id']}_{index:03d}.png",
            **{key: prompt[key] for key in ("prompt", "prompt_id", "set", "class")},
            "index": index,
            "seed": derive_seed(params.sample.seed, prompt["prompt_id"], index),
        }
        for prompt in prompts.to_dict("records")
        for index in range(counts[prompt["set"]])
    ]
    return pd.DataFrame(rows).assign(
        steps=params.sample.num_inference_steps,
        guidance=params.sample.guidance_scale,
        scheduler=params.sample.scheduler,
        model=params.chosen.model,
    )


def build_sampler(variant: str, params: Params, prompts: list[str]) -> tuple[Sampler, str]:
    """Everything loaded and encoded, and the identity of the U-Net's weights."""
    base, device = params.chosen, choose_device()
    unet = load_unet(base)
    if variant == "finetuned":
        apply_checkpoint(unet, *read_finetuned(paths.FINETUNED), base.model)
    identity = fingerprint_weights(unet)
    vae = load_vae(base, device)
    measure_latents(vae, base.resolution_px)
    sampler = Sampler(
        unet=cast_unet(unet, choose_precision(base, device), device),
        vae=vae,
        noise_scheduler=build_scheduler(load_scheduler_config(base), params.sample.scheduler),
        prompt_embeds=encode_distinct(base, ["", *prompts]),
        params=params.sample,
        resolution_px=base.resolution_px,
    )
    return sampler, identity


def encode_distinct(base: BaseParams, prompts: list[str]) -> dict:
    """The embedding (L, D) of each prompt; prompts past the tokenizer's limit are named."""
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    warn_of_cuts(tokenizer, prompts)
    return dict(zip(prompts, encode_prompts(tokenizer, text_encoder, prompts), strict=True))


def sample_batches(
    sampler: Sampler, rows: pd.DataFrame, batch_size: int, scratch: Path
) -> list[bool]:
    """Sample what is not in `scratch` yet; whether each picture is finite, in order."""
    is_finite = []
    with (
        tqdm(total=len(rows), desc="sample", unit="picture") as bar,
        build_workers(sampler.unet.device) as workers,
    ):
        batches = split_rows(rows, batch_size)
        for flags in workers.map(lambda batch: sample_batch(sampler, batch, scratch), batches):
            is_finite += flags
            bar.update(len(flags))
    return is_finite


def sample_batch(sampler: Sampler, batch: tuple[int, pd.DataFrame], scratch: Path) -> list[bool]:
    """Write a batch's pictures unless they are there; whether each is finite.

    A batch is done or not as a whole, and always of the same pictures: rounding depends on it.
    """
    number, rows = batch
    done = scratch / f"batch_{number:05d}.json"
    if not done.exists():
        pictures = sample_pictures(sampler, rows["prompt"].tolist(), rows["seed"].tolist())
        for image, name in zip(pictures.images, rows["file_name"], strict=True):
            write_png(Image.fromarray(image), scratch / "pictures" / name)
        write_json({"is_finite": pictures.is_finite.tolist()}, done)
    return read_json(done, "sample")["is_finite"]


def split_rows(rows: pd.DataFrame, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
    """Numbered batches in order."""
    for number, first in enumerate(range(0, len(rows), batch_size)):
        yield number, rows.iloc[first : first + batch_size]


def publish(scratch: Path, folder: Path) -> None:
    """Move the finished pictures to where they belong, and remove the rest."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(scratch / "pictures", folder)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
