"""What was measured of runs like the one that params.yaml asks for, and how many weights it has.

Nothing is computed from another machine's figures, or from those of another base.
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import try_to_load_from_cache

from stages.adapters.methods import TRAINED, choose_weights
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Params
from stages.files.hub import is_local
from stages.files.pictures import read_rows
from stages.files.tables import SAMPLES_SCHEMA, read_json
from stages.run.cost import read_cost

ALIKE = ("method", "train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing")
"""Of `finetune`: what the time and memory of a step depend on, beside the base."""
BENCH = Path("scratch/gpu/gpu.json")
BENCH_KIND, BENCH_STEPS = (859_520_964, 256, 4), 30
"""What `make gpu` measures: weights of the U-Net, px, pairs a step; inference steps."""


class Measured(NamedTuple):
    """Seconds of a training step and of a picture, the peak of both, and by what."""

    step_s: float
    picture_s: float
    peak_gib: float
    by: str


def find_measured(params: Params) -> Measured | None:
    """What is known of runs like this one; None if nothing is."""
    return read_last_run(params) or read_bench(params)


def read_last_run(params: Params) -> Measured | None:
    """By the run whose results lie here, if it was of the same base and kind."""
    try:
        config = read_json(paths.FINETUNED / "config.json", "finetune")
        num_steps = read_json(paths.TRAINING, "finetune")["num_steps"]
        training = read_cost(paths.TRAINING_COST, "finetune")
        rows = read_rows(paths.SAMPLES["baseline"], SAMPLES_SCHEMA, "sample")
        sampling = read_cost(paths.SAMPLING_COST["baseline"], "sample")
        before, now = config["finetune"], params.finetune.model_dump()
        kinds = {(config["base"]["model"], *(before[key] for key in ALIKE))}
        sampled = {*zip(rows["model"], rows["steps"], strict=True)}
    except (UserError, KeyError, TypeError):  # none, or one of import, or of another version
        return None
    is_alike = kinds == {(params.chosen.model, *(now[key] for key in ALIKE))}
    is_alike &= sampled == {(params.chosen.model, params.sample.num_inference_steps)}
    if not is_alike or not num_steps:
        return None
    peak_mib = max(training.peak_memory_mib, sampling.peak_memory_mib)
    return Measured(
        training.duration_s / num_steps,
        sampling.duration_s / len(rows),
        peak_mib / 1024,
        "the run whose results lie here",
    )


def read_bench(params: Params) -> Measured | None:
    """By `make gpu`, for Stable Diffusion 1.5 at what that measures."""
    base, finetune = params.chosen, params.finetune
    kind = (sum(count_weights(params) or ()), base.resolution_px, finetune.train_batch_size)
    names = (
        f"{finetune.method} step (attune), {base.precision}",
        f"picture, batches of {params.sample.batch_size} (attune), {base.precision}",
    )
    try:
        found = json.loads(BENCH.read_text())
        step, picture = (found[name] for name in names)
        peak_gib = max(step["peak GiB"], picture["peak GiB"])
        picture_s = picture["s"] * params.sample.num_inference_steps / BENCH_STEPS
    except (OSError, ValueError, KeyError, TypeError):  # not measured, or left out
        return None
    return Measured(step["s"], picture_s, peak_gib, "make gpu") if kind == BENCH_KIND else None


def count_weights(params: Params) -> tuple[int, int] | None:
    """Weights of the U-Net that are frozen and trained; None if its config is not here."""
    base, finetune = params.chosen, params.finetune
    file = "unet/config.json"
    try:
        path: object = Path(base.model, file)
        if not is_local(base.model):
            path = try_to_load_from_cache(base.model, file, revision=base.revision)
        with torch.device("meta"):  # shapes alone
            unet = UNet2DConditionModel.from_config(json.loads(Path(str(path)).read_bytes()))
    except (OSError, ValueError, TypeError):  # not here, or not a config
        return None
    with torch.device("meta"):
        chosen = choose_weights(unet, finetune) if finetune.method in TRAINED else {}
    trained = sum(weight.numel() for weight in chosen.values())
    return sum(weight.numel() for weight in unet.parameters()) - trained, trained
