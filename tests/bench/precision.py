"""What half precision leaves of a small update: the tiny base trained at the paper's rate, 1e-6.

One training in float32, then the same prompts and noise sampled in three ways, each as baseline and
as fine-tuned: all in float32; in half precision as attune does it, with trained layers in float32;
and with all weights rounded. CPUs are slow at fp16, so it is imitated: each operation of the U-Net
computes in float32, and its result is rounded. Wants data/latents.safetensors: `dvc repro encode`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from stages.adapters.methods import apply_weights, choose_weights, copy_weights
from stages.base.components import (
    DTYPES,
    load_noise_scheduler,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.base.device import choose_device
from stages.base.prompts import encode_prompts
from stages.config.params import Params, load_params
from stages.finetune import read_encoded_pairs
from stages.sampling.denoise import build_scheduler
from stages.sampling.noise import derive_seed
from stages.sampling.sampler import Sampler, make_ready, sample_pictures
from stages.sampling.update import cast_but_updates, measure_update
from stages.scoring.scorer import Scorer, load_scorer
from stages.sources.prompts import build_prompts
from stages.training.lesson import Lesson
from stages.training.train import build_training, train

LEARNING_RATE, NUM_STEPS = 1e-6, 400
NUM_PROMPTS, PICTURES_EACH = 24, 2
HALVES = ("fp16", "bf16")


class Drawn(NamedTuple):
    """What fine-tuning changed: levels of pixels, (N, H, W, 3), and CLIP cosines, (N,)."""

    pixels: np.ndarray
    clip_cosine: np.ndarray


class RoundResults(TorchDispatchMode):
    """Rounds what each operation results in; views are left alone, as of weights."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.round = partial(_round, dtype)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        return result if func.is_view else tree_map(self.round, result)


def describe_precision() -> list[str]:
    """The table, and above it how large the update is."""
    params = load_params()
    weights = train_slowly(params)
    tuned, base = load_unet(params.chosen), load_unet(params.chosen)
    apply_weights(tuned, dict(weights), params.finetune)
    sizes = {half: measure_update(tuned, base, DTYPES[half]) for half in HALVES}
    drawn = {"float32": draw(params, weights)}
    for half in HALVES:
        for is_kept, what in ((True, "trained layers in float32"), (False, "all rounded")):
            drawn[f"{half}, {what}"] = draw(params, weights, DTYPES[half], is_kept)
    truth = drawn["float32"]
    rows = [
        f"| {name} | {np.abs(d.pixels).mean():.4f} | {(d.pixels != 0).mean():.2%} "
        f"| {correlate(d.pixels, truth.pixels):.3f} | {d.clip_cosine.mean():+.6f} "
        f"| {d.clip_cosine.std():.6f} | {correlate(d.clip_cosine, truth.clip_cosine):.3f} |"
        for name, d in drawn.items()
    ]
    return [
        f"{NUM_STEPS} steps at {LEARNING_RATE:g}, {len(truth.clip_cosine)} pictures of each:",
        *(f"{half}: {size}" for half, size in sizes.items()),
        "",
        "| way | levels | changed | r of pixels | CLIP | sd | r of CLIP |",
        f"|{' --- |' * 7}",
        *rows,
    ]


def train_slowly(params: Params) -> Mapping[str, torch.Tensor]:
    """The trained weights."""
    changes = {"learning_rate": LEARNING_RATE, "max_train_steps": NUM_STEPS, "method": "attn2"}
    finetune = params.finetune.model_copy(update=changes)
    unet, pairs = load_unet(params.chosen), read_encoded_pairs()
    chosen = choose_weights(unet, finetune)
    lesson = Lesson(
        chosen, pairs["train"], pairs["validation"], finetune, load_noise_scheduler(params.chosen)
    )
    for _ in train(build_training(unet, chosen, finetune, LEARNING_RATE, "fp32"), lesson):
        pass
    return copy_weights(chosen)


def draw(
    params: Params,
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype = torch.float32,
    is_kept: bool = True,
) -> Drawn:
    """Sample and score both variants."""
    start, tuned = load_unet(params.chosen), load_unet(params.chosen)
    apply_weights(tuned, dict(weights), params.finetune)
    if dtype != torch.float32:
        start, tuned = (imitate(params, unet, dtype, is_kept) for unet in (start, tuned))
    prompts = list_prompts(params)
    base = params.chosen
    scorer = load_scorer(base.scorer, base.scorer_pretrained, base.scorer_revision)
    before, after = (sample(params, unet, prompts) for unet in (start, tuned))
    return Drawn(
        after.astype(float) - before,
        score(scorer, after, prompts) - score(scorer, before, prompts),
    )


def imitate(
    params: Params, unet: UNet2DConditionModel, dtype: torch.dtype, is_kept: bool
) -> UNet2DConditionModel:
    """A U-Net that computes as `unet` would in half precision."""
    if is_kept:
        cast_but_updates(unet, load_unet(params.chosen), dtype)
    else:
        nn.Module.to(unet, dtype)
    imitation = load_unet(params.chosen)
    imitation.load_state_dict(unet.state_dict())  # in float32 again
    forward = imitation.forward

    def compute(*args: Any, **kwargs: Any) -> Any:
        with RoundResults(dtype):
            return forward(*args, **kwargs)

    imitation.forward = compute
    return imitation


def list_prompts(params: Params) -> list[str]:
    """Of all sets, evenly."""
    table = build_prompts(params.prepare.classes, params.prompts)["prompt"].tolist()
    return table[:: len(table) // NUM_PROMPTS][:NUM_PROMPTS]


def sample(params: Params, unet: UNet2DConditionModel, prompts: Sequence[str]) -> np.ndarray:
    """Pictures (N, H, W, 3), the same noise each time."""
    base, device = params.chosen, choose_device()
    texts = ["", *prompts]
    embeds = encode_prompts(*load_text_encoder(base, device), texts)
    sampler = Sampler(
        unet=make_ready(unet, device),
        vae=load_vae(base, device),
        noise_scheduler=build_scheduler(load_scheduler_config(base), params.sample.scheduler),
        prompt_embeds=dict(zip(texts, embeds, strict=True)),
        params=params.sample,
        resolution_px=base.resolution_px,
    )
    rows = [(prompt, index) for prompt in prompts for index in range(PICTURES_EACH)]
    size = params.sample.batch_size
    parts = []
    for first in range(0, len(rows), size):
        asked, indices = zip(*rows[first : first + size], strict=True)
        seeds = [derive_seed(0, *pair) for pair in zip(asked, indices, strict=True)]
        parts.append(sample_pictures(sampler, asked, seeds).images)
    return np.concatenate(parts)


@torch.inference_mode()
def score(scorer: Scorer, images: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """CLIP cosines (N,) of pictures and their prompts."""
    pixels = torch.stack([scorer.preprocess(Image.fromarray(image)) for image in images])
    tokens = scorer.tokenizer([prompt for prompt in prompts for _ in range(PICTURES_EACH)])
    image_embeds = nn.functional.normalize(scorer.model.encode_image(pixels.to(scorer.device)))
    text_embeds = nn.functional.normalize(scorer.model.encode_text(tokens.to(scorer.device)))
    return (image_embeds * text_embeds).sum(1).double().cpu().numpy()


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r over all values."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _round(dtype: torch.dtype, value: Any) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return value.to(dtype).float() if is_float else value
