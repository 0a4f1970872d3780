"""Does the fine-tuned model draw the thing that it was taught? Of those two methods that teach one.

Reads data/instance.parquet, data/instance_prompts.csv, the base, models/finetuned/ and the scorer;
writes data/instance_samples/, both variants' pictures of the thing from the same noise with
scores.csv beside them, and metrics/instance.json. For every other method both are empty.
"""

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from stages.analysis.resemblance import measure_resemblance, summarise_resemblance
from stages.config import paths
from stages.config.params import Params, load_params
from stages.files.images import decode_image, write_png
from stages.files.instance import (
    RESEMBLANCE_SCHEMA,
    read_instance_pictures,
    read_instance_prompts,
)
from stages.files.tables import write_json, write_table
from stages.run.entry import run_stage
from stages.run.scratch import hash_code, mark_finished

logger = logging.getLogger(__name__)


def main() -> None:
    """Sample, embed and compare, if one thing was taught."""
    params = load_params()
    prompts = read_instance_prompts(paths.INSTANCE_PROMPTS)
    if prompts.empty:
        write_table(pd.DataFrame(columns=list(RESEMBLANCE_SCHEMA)), paths.RESEMBLANCE)
        write_json({}, paths.INSTANCE_METRICS)
        logger.info("resemblance: the method teaches no single thing")
        return
    rows = plan_pictures(prompts, params)
    images, scratch = sample_variants(rows, params)
    thing = read_instance_pictures(paths.INSTANCE)
    embeds = embed_groups({"thing": decode_pictures(thing), **images}, params)

    is_train = (thing["split"] == "train").to_numpy()
    held_out, shown = embeds["thing"][~is_train], embeds["thing"][is_train]
    scores = {name: measure_resemblance(embeds[name], held_out) for name in paths.VARIANTS}
    pairs = rows.assign(**scores)[list(RESEMBLANCE_SCHEMA)]
    metrics = summarise_resemblance(pairs, measure_resemblance(shown, held_out), params.compare)

    write_pictures(images, rows["file_name"].tolist())
    write_table(pairs, paths.RESEMBLANCE)
    write_json(metrics, paths.INSTANCE_METRICS)
    mark_finished(scratch)
    logger.info("resemblance: %s", metrics)


def plan_pictures(prompts: pd.DataFrame, params: Params) -> pd.DataFrame:
    """A row a picture, the same noise for both variants: `baseline_prompt`, `finetuned_prompt`."""
    from stages.sampling.noise import derive_seed  # noqa: PLC0415 - torch, for two methods alone

    return pd.DataFrame(
        {
            "file_name": f"{prompt['prompt_id']}_{index:03d}.png",
            "prompt_id": prompt["prompt_id"],
            "index": index,
            "seed": derive_seed(params.sample.seed, prompt["prompt_id"], index),
            "baseline_prompt": prompt["baseline"],
            "finetuned_prompt": prompt["finetuned"],
        }
        for prompt in prompts.to_dict("records")
        for index in range(params.instance.images_per_prompt)
    )


def sample_variants(
    rows: pd.DataFrame, params: Params
) -> tuple[dict[str, list[Image.Image]], Path]:
    """The pictures of both variants in the order of the rows, and where they wait in scratch."""
    from stages.base.identity import fingerprint_weights  # noqa: PLC0415
    from stages.files.tensors import hash_inputs, read_finetuned  # noqa: PLC0415 - as above
    from stages.sampling.instance import build_instance_sampler, sample_instance  # noqa: PLC0415

    images, folder = {}, paths.SCRATCH / "resemblance"
    files = sorted(paths.FINETUNED.iterdir())
    values = {
        "rows": rows.to_dict("list"),
        "base": params.chosen.model_dump(),
        "sample": params.sample.model_dump(),
        "code": hash_code(),
    }
    for variant in paths.VARIANTS:
        checkpoint = read_finetuned(paths.FINETUNED) if variant == "finetuned" else None
        prompts = rows[f"{variant}_prompt"].tolist()
        sampler = build_instance_sampler(
            params.chosen, params.sample, list(dict.fromkeys(prompts)), checkpoint
        )
        if "identity" not in values:  # of the base, as it stands in its folder
            values["identity"] = fingerprint_weights(sampler.unet)
            folder /= hash_inputs(values, *files)
        pictures = sample_instance(sampler, prompts, rows["seed"].tolist(), folder / variant)
        if num_bad := int((~pictures.is_finite).sum()):
            logger.warning("resemblance: %d %s pictures are not finite", num_bad, variant)
        images[variant] = [Image.fromarray(image) for image in pictures.images]
    return images, folder


def decode_pictures(thing: pd.DataFrame) -> list[Image.Image]:
    """The pictures of the thing itself."""
    rows = zip(thing["image"], thing["source_id"], strict=True)
    return [decode_image(data, f"{paths.INSTANCE}, {name}") for data, name in rows]


def write_pictures(images: dict[str, list[Image.Image]], file_names: list[str]) -> None:
    """Write both variants' pictures to folders of their own."""
    shutil.rmtree(paths.INSTANCE_SAMPLES, ignore_errors=True)
    for variant, pictures in images.items():
        for image, name in zip(pictures, file_names, strict=True):
            write_png(image, paths.INSTANCE_SAMPLES / variant / name)


def embed_groups(
    groups: dict[str, list[Image.Image]], params: Params
) -> dict[str, NDArray[np.float32]]:
    """Unit-norm embeds (N, E) of each group of N pictures by the scorer."""
    from stages.scoring.embed import embed_images  # noqa: PLC0415 - as above
    from stages.scoring.scorer import load_scorer  # noqa: PLC0415

    scorer = load_scorer(params.chosen.scorer, params.chosen.scorer_pretrained)
    return {
        name: np.concatenate(
            [
                embed_images(scorer, images[first : first + params.score.batch_size]).numpy()
                for first in range(0, len(images), params.score.batch_size)
            ]
        )
        for name, images in groups.items()
    }


if __name__ == "__main__":
    run_stage(main)
