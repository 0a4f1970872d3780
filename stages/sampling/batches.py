"""Sampling many pictures, a batch at a time: finished batches wait in scratch until all are done.

A batch is always of the same pictures: rounding depends on it.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from stages.config.mistakes import UserError
from stages.config.params import DenoiseParams, Protocol, SampleParams
from stages.files.images import encode_png
from stages.files.pictures import (
    IMAGE,
    find_samples_schema,
    read_parts,
    read_rows,
    write_pictures,
)
from stages.files.tables import SAMPLES_EXTRA, SAMPLES_SCHEMA
from stages.run.interrupt import defer_interrupt
from stages.run.processes import count_processes, is_main_process, share_out, wait_for_all
from stages.sampling.noise import derive_seed
from stages.sampling.sampler import Sampled, Sampler, sample_pictures, use_workers

logger = logging.getLogger(__name__)


NUM_IMAGES: dict[Protocol, dict[str, int]] = {
    "broad": {"in_domain": 2, "marketing": 6},
    "paper": {"in_domain": 1, "marketing": 30},
}
"""Pictures of a prompt where params.yaml says `auto`."""


def count_pictures(params: SampleParams, protocol: Protocol) -> dict[str, int]:
    """How many pictures a prompt of each set gets."""
    usual = NUM_IMAGES[protocol]
    return {
        "in_domain": params.images_per_in_domain_prompt or usual["in_domain"],
        "marketing": params.images_per_marketing_prompt or usual["marketing"],
        "subject": params.images_per_subject_prompt,
    }


def plan_pictures(
    prompts: pd.DataFrame, counts: Mapping[str, int], params: DenoiseParams, model: str
) -> pd.DataFrame:
    """The metadata of each picture to sample, in order; all of `SAMPLES_SCHEMA` but `is_finite`.

    Args:
        prompts: Columns prompt_id, set, class and prompt.
        counts: How many pictures a prompt of each set gets.
        params: How they are sampled.
        model: The base's name.
    """
    rows = [
        {
            "file_name": f"{prompt['prompt_id']}_{index:03d}.png",
            **{key: prompt[key] for key in ("prompt", "prompt_id", "set", "class")},
            "index": index,
            "seed": derive_seed(params.seed, prompt["prompt_id"], index),
        }
        for prompt in prompts.to_dict("records")
        for index in range(counts[prompt["set"]])
    ]
    return pd.DataFrame(rows).assign(
        steps=params.num_inference_steps,
        guidance=params.guidance_scale,
        scheduler=params.scheduler,
        model=model,
    )


def sample_table(
    sampler: Sampler,
    rows: pd.DataFrame,
    prompts: Sequence[str],
    scratch: Path,
    note_progress: Callable[[], object] = lambda: None,
) -> Path:
    """Sample a picture a row, by all processes together; the table of them, in `scratch`.

    Args:
        sampler: Knows the embedding of each prompt.
        rows: Columns of `SAMPLES_SCHEMA`, but for `is_finite`.
        prompts: What the sampler is asked for, a row each.
        scratch: A folder for these inputs and no others. What is whole there is kept.
        note_progress: Called whenever a batch has been saved.

    Raises:
        KeyboardInterrupt: After the batches under way, which are kept.
    """
    table = scratch / "pictures.parquet"
    size = sampler.params.batch_size
    firsts = range(0, len(rows), size)
    files = {first: scratch / f"batch_{first:07d}.parquet" for first in firsts}
    if not is_whole(table):
        _sample_missing(sampler, rows.assign(asked=list(prompts)), files, note_progress)
        if is_main_process():
            merge_tables(list(files.values()), table)
    wait_for_all()
    return table


def is_whole(path: Path) -> bool:
    """Whether a table was written to its end and is what it was then: it has checksums."""
    try:
        for _ in read_parts(path, find_samples_schema(path), "sample", 1):
            pass
    except UserError:
        return False
    return True


def merge_tables(files: Sequence[Path], path: Path) -> None:
    """Put tables of sampled pictures one after the other, and remove them."""
    schema = find_samples_schema(files[0])
    rows = pd.concat([read_rows(file, schema, "sample") for file in files])
    images = (
        image
        for file in files
        for part in read_parts(file, SAMPLES_SCHEMA, "sample", len(rows))
        for image in part[IMAGE]
    )
    write_pictures(rows, images, path, schema)
    for file in files:
        file.unlink()


def publish(table: Path, path: Path) -> None:
    """Put a finished table where it belongs; it stays in scratch until DVC has saved it.

    As a link, it takes no second place on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(table, path)
    except OSError:  # a file system that has none
        shutil.copyfile(table, path)


def _sample_missing(
    sampler: Sampler,
    rows: pd.DataFrame,
    files: Mapping[int, Path],
    note_progress: Callable[[], object],
) -> None:
    """Sample the batches, by their first rows, whose files are not whole."""
    waiting = [first for first, file in files.items() if is_main_process() and not is_whole(file)]
    size = sampler.params.batch_size
    num_done = len(rows) - sum(len(rows.iloc[first : first + size]) for first in waiting)
    if is_main_process() and num_done:
        logger.info("sample: goes on after %d pictures", num_done)
    is_silent = not is_main_process()
    bar = tqdm(total=len(rows), initial=num_done, desc="sample", unit="picture", disable=is_silent)
    # Files are written by a thread of their own: a GPU has nothing to do meanwhile.
    writer, is_held = ThreadPoolExecutor(1), defer_interrupt()
    with bar, writer, use_workers(sampler) as workers, is_held as is_interrupted:

        def sample(first: int) -> Future[int]:
            part = rows.iloc[first : first + size]
            sampled = sample_pictures(sampler, part["asked"].tolist(), part["seed"].tolist())
            return writer.submit(_write_batch, part, sampled, files[first])

        for written in workers.map(sample, share_out(waiting)):
            bar.update(written.result() * count_processes())  # the others are about as far
            note_progress()
            if is_interrupted():
                workers.shutdown(cancel_futures=True)  # after the batches under way
                raise KeyboardInterrupt("between two batches; `dvc repro` goes on from there")
    wait_for_all()


def _write_batch(rows: pd.DataFrame, sampled: Sampled, path: Path) -> int:
    images = [encode_png(Image.fromarray(image)) for image in sampled.images]
    known = {"is_finite": sampled.is_finite, "experts": sampled.experts}
    rows = rows.assign(**known, guide_cosine=sampled.guide_cosine)
    is_there = {"experts": any(sampled.experts), "guide_cosine": sampled.guide_cosine is not None}
    extra = {name: kind for name, kind in SAMPLES_EXTRA.items() if is_there[name]}
    write_pictures(rows, images, path, {**SAMPLES_SCHEMA, **extra})
    return len(rows)
