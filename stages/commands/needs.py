"""What the run that params.yaml asks for needs, beside what this machine has; a line each.

Times and peaks are measured ones of a run before, or are not told. Bytes are counted.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import constants
from torchvision.datasets import CIFAR10

from stages.adapters.methods import TRAINED, choose_weights
from stages.base.base_files import describe_base
from stages.base.components import DTYPES
from stages.base.device import choose_device, describe_device, require_device
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Params, load_params
from stages.files.hub import Model, is_local, require_model
from stages.files.pictures import read_rows
from stages.files.tables import SAMPLES_SCHEMA, read_json
from stages.files.taught import name_taught
from stages.run.cost import read_cost
from stages.sampling.batches import count_pictures
from stages.scoring.scorer import describe_scorer, load_scorer
from stages.sources.intake import build_all_prompts, open_all

GB, GIB = 1e9, 2**30
ALIKE = ("method", "train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing")
"""Of `finetune`: what the time and memory of a step depend on, beside the base."""
STATE_BYTES = {"adamw": 16, "adamw_8bit": 10}
"""Of a trained weight: float32 itself, its gradient, and the optimizer's two averages."""
MEASURE = "`make gpu` measures a step and a picture on a GPU; elsewhere the first run tells"
BENCH = Path("scratch/gpu/gpu.json")
BENCH_KIND, BENCH_STEPS = (859_520_964, 256, 4), 30
"""What `make gpu` measures: weights of the U-Net, px, pairs a step; inference steps."""


class Measured(NamedTuple):
    """Seconds of a training step and of a picture, the peak of both, and by what."""

    step_s: float
    picture_s: float
    peak_gib: float
    by: str


def describe_needs(problems: list[str]) -> dict[str, str]:
    """A text for each row; what keeps the run from starting is added to `problems`."""

    def look(describe: Callable[..., Any], *args: object) -> Any:
        try:
            return describe(*args)
        except UserError as error:
            problems.extend(str(error).splitlines())
            return None

    rows = {"device": describe_computer()}
    if params := look(load_params):
        look(require_device, params.chosen)
        num_pictures = look(count_samples, params) or 0
        rows["run"] = describe_run(params, num_pictures)
        rows["models"] = look(describe_models, params)
        rows["data"] = look(describe_data, params)
        rows["memory"] = look(describe_memory, params)
        rows["disk"] = look(describe_disk, params, num_pictures)
        rows["time"] = describe_time(params, num_pictures)
    return {name: text or "see above" for name, text in rows.items()}


def describe_computer() -> str:
    """What computes, and NVIDIA's driver."""
    driver = Path("/proc/driver/nvidia/version")
    version = driver.read_text().splitlines()[0] if driver.is_file() else "no NVIDIA driver"
    return f"{describe_device(choose_device())}; {os.cpu_count()} cores; {version}"


def count_samples(params: Params) -> int:
    """How many pictures of each variant will be sampled."""
    prompts = build_all_prompts(params, name_taught(params))
    counts = count_pictures(params.sample, params.prompts.protocol)
    return int(prompts["set"].map(counts).sum())


def describe_run(params: Params, num_pictures: int) -> str:
    """What params.yaml asks for."""
    base, finetune = params.chosen, params.finetune
    return (
        f"base {params.base} ({base.model}) in {base.precision}; {finetune.method}, "
        f"{finetune.max_train_steps} steps of {finetune.train_batch_size} pairs; "
        f"2 x {num_pictures} pictures of {base.resolution_px} px"
    )


def describe_models(params: Params) -> str:
    """Base and scorer: here, or what brings them; asks the hub only for what is not here.

    Raises:
        UserError: One is neither here nor can be had, or is not whole.
    """
    base = params.chosen
    scorer = describe_scorer(base.scorer, base.scorer_pretrained)
    if scorer is None:
        load_scorer(base.scorer, base.scorer_pretrained)
    models = [describe_base(base), *([scorer] if scorer else [])]
    commands = [model.download_command for model in models if is_missing(model)]
    problems = []
    for model in models:
        try:
            require_model(model)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    if commands:
        return f"not in {constants.HF_HUB_CACHE} yet; this fetches them: {' && '.join(commands)}"
    return f"{base.model} and {base.scorer} are here"


def is_missing(model: Model) -> bool:
    """Whether the run would download some of a model."""
    return not is_local(model.name) and bool(model.list_missing())


def describe_data(params: Params) -> str:
    """The pictures: here, or what brings them.

    Raises:
        UserError: They are not as params.yaml says.
    """
    data = params.chosen.data
    if data.source == "cifar10" and not (data.path / CIFAR10.base_folder).is_dir():
        archive = data.path / CIFAR10.filename
        if not archive.is_file():
            fetch = f"curl -L --create-dirs -o {archive} {CIFAR10.url}"
            return f"CIFAR-10 is not in {data.path} yet; the run fetches 170 MB, or now: {fetch}"
        return f"{archive}, to be unpacked"
    sources = open_all(params, name_taught(params))
    return f"{len(sources['train'].entries)} pictures of source {data.source}"


def describe_memory(params: Params) -> str:
    """What training holds at least, what a run before took at most, and what is free.

    Raises:
        UserError: More than is free is needed at least.
    """
    free, total = measure_memory()
    has = f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free"
    weights = count_weights(params)
    if weights is None:
        return f"{has}; what training needs is not known until the base is here"
    frozen, trained = weights
    state_bytes = STATE_BYTES[params.finetune.optimizer] + 4 * (
        params.finetune.ema_decay is not None
    )
    frozen_bytes = DTYPES[params.chosen.precision].itemsize
    needed = frozen * frozen_bytes + trained * state_bytes
    account = (
        f"{needed / GIB:.2f} GiB for weights, gradients and moments (counted: {frozen:,} frozen x "
        f"{frozen_bytes} + {trained:,} trained x {state_bytes} bytes)"
    )
    if needed > free:
        raise UserError(
            f"memory: training needs {account}, and only {has}; free some, or change "
            "finetune.method (lora and attn2 train less), finetune.optimizer or base"
        )
    measured = find_measured(params)
    peak = f"{measured.by} peaked at {measured.peak_gib:.2f} GiB" if measured else MEASURE
    return f"{has}; training needs {account}, and room for activations: {peak}"


def count_weights(params: Params) -> tuple[int, int] | None:
    """Weights of the U-Net that are frozen and trained; None if its config is not here."""
    base, finetune = params.chosen, params.finetune
    try:
        config = UNet2DConditionModel.load_config(
            base.model, subfolder="unet", revision=base.revision, local_files_only=True
        )
    except (OSError, ValueError):
        return None
    with torch.device("meta"):  # shapes alone
        unet = UNet2DConditionModel.from_config(config)
        chosen = choose_weights(unet, finetune) if finetune.method in TRAINED else {}
    trained = sum(weight.numel() for weight in chosen.values())
    return sum(weight.numel() for weight in unet.parameters()) - trained, trained


def measure_memory() -> tuple[int, int]:
    """Bytes that are free and that there are: of the GPU, else of the machine or its container."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()
    import psutil  # noqa: PLC0415

    memory = psutil.virtual_memory()
    return memory.available, memory.total


def describe_disk(params: Params, num_pictures: int) -> str:
    """What the run writes at most, and what is free.

    Raises:
        UserError: That is less.
    """
    side, pairs = params.chosen.resolution_px, params.prepare
    num_pairs = pairs.num_pairs + pairs.num_validation_pairs
    pixels = 3 * side**2 * (num_pairs + 2 * num_pictures)  # PNG is smaller
    latents = num_pairs * 2 * 4 * 4 * (side // 8) ** 2  # means and deviations in float32
    _, trained = count_weights(params) or (0, 0)
    weights = trained * 4 * 5  # a checkpoint of weights and two moments, and what it replaces
    needed = 2 * (pixels + latents + weights)  # here and in DVC's cache
    free = shutil.disk_usage(Path.cwd()).free
    text = (
        f"the run writes up to {needed / GB:.2f} GB (counted: pictures, latents and weights, here "
        f"and in DVC's cache); {free / GB:.1f} GB are free"
    )
    if needed > free:
        raise UserError(f"disk: {text}; free some, or remove old results by `dvc gc --workspace`")
    return text


def describe_time(params: Params, num_pictures: int) -> str:
    """How long training and sampling take, by what was measured."""
    if not (measured := find_measured(params)):
        return f"not known: {MEASURE}"
    training_min = measured.step_s * params.finetune.max_train_steps / 60
    sampling_min = 2 * measured.picture_s * num_pictures / 60
    return (
        f"training {training_min:.1f} min and sampling {sampling_min:.1f} min, as measured by "
        f"{measured.by}; the other stages are not counted"
    )


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
