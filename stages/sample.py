"""Sample a variant's pictures: `python -m stages.sample baseline` or `... finetuned`.

Reads data/prompts.csv, the base and for finetuned models/finetuned/; writes a row a picture to
data/samples/VARIANT.parquet, and plots/data/cost_sample_VARIANT.json. Both variants start from the
same noise. Finished batches wait in scratch/, so that a run that was killed goes on after them.
Pictures that were handed in, in data/handed_in/baseline.parquet or models/finetuned/, are taken.
"""

import logging
import sys
from pathlib import Path

import pandas as pd

from stages.adapters.applied import apply_finetuned
from stages.adapters.word import spell
from stages.base.components import Models, load_text_encoder, load_unet, load_vae
from stages.base.device import choose_device
from stages.base.identity import fingerprint_weights
from stages.base.prompts import encode_distinct
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Params, load_params
from stages.files.pictures import read_rows
from stages.files.tables import SAMPLES_SCHEMA, read_prompts
from stages.files.tensors import hash_inputs, read_finetuned
from stages.run.cost import Cost, Meter, write_cost
from stages.run.entry import run_stage
from stages.run.peaks import watch_part
from stages.run.processes import get_rank, is_main_process, join_processes
from stages.run.scratch import hash_code, mark_finished, use_folder
from stages.sampling.batches import count_pictures, plan_pictures, publish, sample_table
from stages.sampling.clip_guidance import Guide, load_guide
from stages.sampling.sampler import build_sampler

logger = logging.getLogger(__name__)

ASKED = {"baseline": "prompt", "finetuned": "finetuned_prompt"}
"""The column of data/prompts.csv with what a variant is asked for."""


def main(variant: str = "") -> None:
    """Write the pictures of a variant with what is known of each."""
    if variant not in paths.VARIANTS:
        raise UserError(f"found variant {variant!r}; should be {' or '.join(paths.VARIANTS)}")
    params = load_params()
    base = params.chosen
    join_processes()
    if pictures := find_handed_in(variant):
        if is_main_process():
            publish(pictures, paths.SAMPLES[variant])
            write_cost(Cost(), paths.SAMPLING_COST[variant])  # what others spent is not known
        return
    prompts = read_prompts(paths.PROMPTS)
    counts = count_pictures(params.sample, params.prompts.protocol)
    rows = plan_pictures(prompts, counts, params.sample, base.model)
    asked = rows["prompt_id"].map(prompts.set_index("prompt_id")[ASKED[variant]]).tolist()
    logger.info("sample: %d pictures, %s of %s", len(rows), variant, base.model)

    device, unet = choose_device(), load_unet(base)
    tokenizer, text_encoder = load_text_encoder(base, device)
    models = Models(unet, text_encoder, load_vae(base, device), tokenizer)
    fingerprint = fingerprint_weights(unet)
    tokens = apply_weights(models, fingerprint, params) if variant == "finetuned" else []
    with use_folder(f"sample@{variant}-{get_rank()}") as spill:
        spelled = [spell(text, tokens) for text in asked]
        texts = [*spelled, params.sample.negative_prompt or ""]
        embeds = dict(zip(*encode_distinct(tokenizer, text_encoder, texts, spill), strict=True))
        guide = build_guide(params, dict(zip(spelled, rows["prompt"], strict=True)))
        scratch = locate_scratch(variant, rows.assign(asked=spelled), params, fingerprint, guide)
        sampler = build_sampler(base, params.sample, unet, embeds, models.vae, guide)
        with Meter(scratch / "cost.json") as meter, watch_part("sampling"):
            table = sample_table(sampler, rows, spelled, scratch, meter.note)
            cost = meter.note()
    if is_main_process():
        publish(table, paths.SAMPLES[variant])
        write_cost(cost, paths.SAMPLING_COST[variant])
        mark_finished(table.parent, paths.SAMPLING_COST[variant])
        num_bad = (~read_rows(table, SAMPLES_SCHEMA, "sample")["is_finite"]).sum()
        logger.info("sample: %d of %d not finite", num_bad, len(rows))


def find_handed_in(variant: str) -> Path | None:
    """The table of a variant's pictures, if they were handed in."""
    if variant == "baseline":
        path = paths.HANDED_IN["baseline"]
        return None if read_rows(path, SAMPLES_SCHEMA, "prepare").empty else path
    path = paths.FINETUNED / paths.PICTURES_NAME
    return path if path.exists() else None


def apply_weights(models: Models, fingerprint: str, params: Params) -> list[str]:
    """Put what was trained or imported into the base; the tokens of the new word, if it is one."""
    strength = params.imported.strength
    weights, config = read_finetuned(paths.FINETUNED)
    if strength != 1:
        logger.info("sample: at strength %g of what was trained", strength)
    return apply_finetuned(models, fingerprint, weights, config, params.chosen.model, strength)


def build_guide(params: Params, wanted: dict[str, str]) -> Guide | None:
    """The guide to what each prompt wants, the same for both variants; None at scale 0."""
    scale = params.sample.clip_guidance_scale
    if not scale:
        return None
    logger.info("sample: led by %s, at scale %g", params.chosen.guide, scale)
    return load_guide(params.chosen, scale, {"": "", **wanted}, choose_device())


def locate_scratch(
    variant: str,
    rows: pd.DataFrame,
    params: Params,
    fingerprint: str,
    guide: Guide | None = None,
) -> Path:
    """The folder of batches that fit these inputs, the code included, and no others.

    What is sampled is known by the base's U-Net and the files that are applied to it.
    """
    values = {"rows": rows.to_dict("list"), "unet": fingerprint, "code": hash_code()}
    values |= {"base": params.chosen.model_dump(), "sample": params.sample.model_dump()}
    if guide:
        values["guide"] = fingerprint_weights(guide.model)
    inputs = []
    if variant == "finetuned":
        values["strength"] = params.imported.strength
        inputs = sorted(paths.FINETUNED.iterdir())
    return paths.SCRATCH / f"sample@{variant}" / hash_inputs(values, *inputs)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
