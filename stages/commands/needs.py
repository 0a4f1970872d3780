"""What the run that params.yaml asks for needs, beside what this machine has; a line each.

Times and peaks are measured ones of a run before, or are not told. Bytes are counted.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from torchvision.datasets import CIFAR10

from stages.adapters.foreign import find_foreign
from stages.base.base_files import describe_base
from stages.base.components import DTYPES
from stages.base.device import choose_device, describe_device, require_device
from stages.commands.measured import count_weights, find_measured
from stages.config.mistakes import UserError, enumerate_keys
from stages.config.params import Params, load_params
from stages.files.clip_files import LOCAL_PREFIX, describe_clips
from stages.files.hub import Missing, Model, find_missing, is_local
from stages.files.taught import name_taught
from stages.run.inputs import require_files, require_optimizer
from stages.sampling.batches import count_pictures
from stages.scoring.scorer import load_scorer
from stages.sources.handed_in import open_handed_in
from stages.sources.intake import build_all_prompts, open_all

GB, GIB = 1e9, 2**30
STATE_BYTES = {"adamw": 16, "adamw_8bit": 10}
"""Of a trained weight: float32 itself, its gradient, and the optimizer's two averages."""
MEASURE = "`make gpu` measures a step and a picture on a GPU; elsewhere the first run tells"


Found = list[tuple[Model, Missing]]
"""Models, and what of each is not here."""


def describe_needs(base: str, problems: list[str]) -> dict[str, str]:
    """A text for each row; what keeps the run from starting is added to `problems`.

    Args:
        base: A key of `bases`; empty for the one that params.yaml names.
        problems: One line each.
    """

    def look(describe: Callable[..., Any], *args: object) -> Any:
        try:
            return describe(*args)
        except (UserError, OSError) as error:
            problems.extend(line for line in str(error).splitlines() if line not in problems)
            return None

    rows = {"device": describe_computer()}
    if params := look(read_params, base):
        named = params.pictures.named
        look(require_files, params)
        if not named:
            look(require_device, params.chosen)
        models = look(find_models, params) or []
        look(require_models, params, models)
        if named:
            sides = " and ".join(map(str, named.values()))
            rows["run"] = f"{sides} are compared; nothing is trained or sampled"
            rows["models"] = describe_models(params, models)
            rows["data"] = look(describe_pictures, params)
        else:
            look(require_optimizer, params.finetune)
            look(require_import, params)
            num_pictures = look(count_samples, params) or 0
            rows["run"] = describe_run(params, num_pictures)
            rows["models"] = describe_models(params, models)
            rows["data"] = look(describe_data, params)
            rows["memory"] = look(describe_memory, params)
            rows["disk"] = look(describe_disk, params, num_pictures, count_downloads(models))
            rows["time"] = look(describe_time, params, num_pictures)
    return {name: text or "see above" for name, text in rows.items()}


def read_params(base: str) -> Params:
    """params.yaml, as `dvc exp run -S base=BASE` would have it.

    Raises:
        UserError: It is wrong, or has no such base.
    """
    params = load_params()
    if base and base not in params.bases:
        raise UserError(f"base {base}: should be one of {enumerate_keys(params.bases)}")
    return params.model_copy(update={"base": base or params.base})


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


def find_models(params: Params) -> Found:
    """Base, scorer and guide, as far as a run needs them; and what of each is not here."""
    bases = [] if params.pictures.named else [describe_base(params.chosen)]
    models = [*bases, *describe_clips(params)]
    return [(model, find_missing(model)) for model in models]


def describe_models(params: Params, found: Found) -> str:
    """Base and scorer: here, or the one command that brings them."""
    absent = [model for model, missing in found if missing.files]
    commands = [model.download_command for model in absent if not is_local(model.name)]
    if not commands:
        base = "" if params.pictures.named else f"{params.chosen.model} and "
        return base + params.chosen.scorer
    size = sum(missing.num_bytes for _, missing in found)
    what = f"{size / GB:.2f} GB are" if size else "some is"
    return f"{what} not in {constants.HF_HUB_CACHE}; this fetches it:\n{' && '.join(commands)}"


def require_models(params: Params, found: Found) -> None:
    """Refuse models that are not whole, or neither here nor to be had.

    Raises:
        UserError: A line for each.
    """
    if problems := [missing.problem for _, missing in found if missing.problem]:
        raise UserError("\n".join(problems))
    if params.chosen.scorer.startswith(LOCAL_PREFIX):
        load_scorer(params.chosen.scorer, params.chosen.scorer_pretrained)


def require_import(params: Params) -> None:
    """Refuse weights to import that are not on this machine; of the hub's nothing is asked.

    Raises:
        UserError: `import.path` names a file or folder that is not there.
    """
    path = params.imported.path
    if params.finetune.method == "import" and path and (is_local(path) or "/" not in path):
        find_foreign(path, params.imported.revision)


def describe_pictures(params: Params) -> str:
    """The pictures that were handed in; they are not opened.

    Raises:
        UserError: A side is not there, or not as docs/pictures.md says.
    """
    samples = open_handed_in(params.pictures.named).samples
    counts = [f"{len(table)} pictures of {variant}" for variant, table in samples.items()]
    return " and ".join(counts)


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
            return f"CIFAR-10 is not in {data.path} yet; the run fetches 170 MB, or this:\n{fetch}"
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
        return (
            f"{has}; what training needs is not known until the base is here (docs/benchmarks.md "
            "has an account of Stable Diffusion 1.5)"
        )
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


def measure_memory() -> tuple[int, int]:
    """Bytes that are free and that there are: of the GPU, else of the machine or its container."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()
    import psutil  # noqa: PLC0415

    memory = psutil.virtual_memory()
    return memory.available, memory.total


def count_downloads(found: Found) -> int:
    """Bytes of models that would come onto the disk of this folder, rather than another."""
    cache = Path(constants.HF_HUB_CACHE)
    above = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    is_here = above.stat().st_dev == Path.cwd().stat().st_dev
    return sum(missing.num_bytes for _, missing in found) if is_here else 0


def describe_disk(params: Params, num_pictures: int, num_downloaded: int) -> str:
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
    needed = 2 * (pixels + latents + weights) + num_downloaded  # here and in DVC's cache
    free = shutil.disk_usage(Path.cwd()).free
    text = (
        f"the run writes up to {needed / GB:.2f} GB (counted: pictures, latents and weights, here "
        f"and in DVC's cache, and models to download); {free / GB:.1f} GB are free"
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
