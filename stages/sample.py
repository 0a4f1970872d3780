"""Sample a variant's pictures: `python -m stages.sample baseline` or `... finetuned`.

Reads data/prompts.csv, the base and for finetuned models/finetuned/; writes data/samples/VARIANT/,
a file a picture or, of many, shards. Both variants start from the same noise. Finished parts wait
in scratch/, so that a run that was killed goes on after them.
"""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from stages.adapters.methods import apply_checkpoint
from stages.base.components import (
    choose_device,
    choose_precision,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.base.identity import fingerprint_weights
from stages.base.prompts import encode_prompts, warn_of_cuts
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import BaseParams, Params, load_params
from stages.files.images import encode_png, write_png
from stages.files.samples import write_shard
from stages.files.tables import read_prompts, write_table
from stages.files.tensors import hash_inputs, read_finetuned
from stages.run.entry import run_stage
from stages.run.interrupt import defer_interrupt
from stages.run.processes import (
    count_processes,
    is_main_process,
    join_processes,
    share_out,
    wait_for_all,
)
from stages.run.scratch import hash_code, mark_finished
from stages.sampling.denoise import build_scheduler
from stages.sampling.noise import derive_seed
from stages.sampling.parts import (
    Part,
    is_done,
    is_sharded,
    list_parts,
    note_done,
    read_flags,
    split_rows,
)
from stages.sampling.sampler import (
    Pictures,
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
        raise UserError(f"found variant {variant!r}; should be {' or '.join(paths.VARIANTS)}")
    params = load_params()
    join_processes()
    rows = plan_pictures(read_prompts(paths.PROMPTS), params)
    logger.info("sample: %d pictures, %s of %s", len(rows), variant, params.chosen.model)
    sharded = is_sharded(rows, params.sample)
    prompts = [] if sharded else rows["prompt"].unique().tolist()  # a shard encodes its own
    sampler, identity = build_sampler(variant, params, prompts)
    values = {"variant": variant, "identity": identity, "rows": rows.to_dict("list")}
    values |= {"base": params.chosen.model_dump(), "sample": params.sample.model_dump()}
    values |= {"code": hash_code()}
    scratch = paths.SCRATCH / f"sample@{variant}" / hash_inputs(values)
    parts = list_parts(rows, params.sample)
    sample_parts(sampler, params.chosen if sharded else None, parts, scratch)
    wait_for_all()
    if not is_main_process():
        return
    is_finite = [flag for part in parts for flag in read_flags(part, scratch)]
    if not sharded:
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


def sample_parts(
    sampler: Sampler, base: BaseParams | None, parts: Sequence[Part], scratch: Path
) -> None:
    """Sample what is not in `scratch` yet, or this process's part of it; `base` is for shards."""
    waiting = [part for part in parts if is_main_process() and not is_done(part, scratch)]
    num_pictures = sum(len(part.rows) for part in parts)
    num_done = num_pictures - sum(len(part.rows) for part in waiting)
    if num_done and is_main_process():
        logger.info("sample: goes on after %d pictures", num_done)
    with (
        tqdm(
            total=num_pictures,
            initial=num_done,
            desc="sample",
            unit="picture",
            disable=not is_main_process(),
        ) as bar,
        build_workers(sampler) as workers,
        defer_interrupt() as is_interrupted,
    ):

        def note_progress(count: int) -> None:
            bar.update(count * count_processes())  # the others are about as far
            if is_interrupted():
                workers.shutdown(cancel_futures=True)  # after the batches under way
                raise KeyboardInterrupt("between two batches; `dvc repro` goes on from there")

        mine = share_out(waiting)
        if base is None:
            for count in workers.map(lambda part: sample_files(sampler, part, scratch), mine):
                note_progress(count)
        else:
            for part in mine:
                embeds = encode_distinct(base, ["", *part.rows["prompt"].unique().tolist()])
                own = replace(sampler, prompt_embeds=embeds)
                sample_shard(own, part, scratch, workers, note_progress)


def sample_files(sampler: Sampler, part: Part, scratch: Path) -> int:
    """Write a batch's pictures as files; how many there are."""
    pictures = sample_batch(sampler, part.rows)
    for image, name in zip(pictures.images, part.files, strict=True):
        write_png(Image.fromarray(image), scratch / "pictures" / name)
    note_done(part, pictures.is_finite.tolist(), scratch)
    return len(part.rows)


def sample_shard(
    sampler: Sampler,
    part: Part,
    scratch: Path,
    workers: Executor,
    note_progress: Callable[[int], None],
) -> None:
    """Sample a shard's batches, and write it when it is whole: no more than one is in memory."""
    batches = list(split_rows(part.rows, sampler.params.batch_size))
    encoded: list[bytes] = []
    is_finite: list[bool] = []
    for pictures in workers.map(lambda rows: sample_batch(sampler, rows), batches):
        encoded += [encode_png(Image.fromarray(image)) for image in pictures.images]
        is_finite += pictures.is_finite.tolist()
        note_progress(len(pictures.images))
    (name,) = part.files
    write_shard(part.rows.assign(is_finite=is_finite), encoded, scratch / "pictures" / name)
    note_done(part, is_finite, scratch)


def sample_batch(sampler: Sampler, rows: pd.DataFrame) -> Pictures:
    """A batch is always of the same pictures, in files or shards: rounding depends on it."""
    return sample_pictures(sampler, rows["prompt"].tolist(), rows["seed"].tolist())


def publish(scratch: Path, folder: Path) -> None:
    """Put the finished pictures where they belong; they stay in scratch until DVC has saved them.

    As links, they take no second place on the disk.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scratch / "pictures", folder, copy_function=link_or_copy)
    mark_finished(scratch)


def link_or_copy(source: str, target: str) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
