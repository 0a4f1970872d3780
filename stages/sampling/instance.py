"""Pictures of the thing that was learned, and of what the base makes of its class instead."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.adapters.methods import apply_checkpoint
from stages.adapters.word import apply_word, spell
from stages.base.components import (
    choose_device,
    choose_precision,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.base.prompts import encode_prompts, warn_of_cuts
from stages.config.params import BaseParams, SampleParams
from stages.files.tensors import read_checkpoint, write_tensors
from stages.sampling.denoise import build_scheduler
from stages.sampling.sampler import (
    Pictures,
    Sampler,
    build_workers,
    cast_unet,
    measure_latents,
    sample_pictures,
)

Checkpoint = tuple[dict[str, Tensor], dict[str, Any]]
"""What was trained, and its config."""


def build_instance_sampler(
    base: BaseParams, params: SampleParams, prompts: Sequence[str], checkpoint: Checkpoint | None
) -> Sampler:
    """The base, or with a checkpoint the fine-tuned model, with the prompts encoded.

    Raises:
        UserError: The checkpoint was trained on another base.
    """
    device = choose_device()
    unet = load_unet(base)
    tokenizer, text_encoder = load_text_encoder(base, device)
    spelled = ["", *prompts]
    if checkpoint is not None:
        weights, config = checkpoint
        apply_checkpoint(unet, weights, config, base.model)
        if config["method"] == "textual_inversion":
            tokens = apply_word(tokenizer, text_encoder, weights, config, base.model)
            spelled = [spell(prompt, tokens) for prompt in spelled]
    warn_of_cuts(tokenizer, spelled)
    embeds = encode_prompts(tokenizer, text_encoder, spelled)
    vae = load_vae(base, device)
    measure_latents(vae, base.resolution_px)
    return Sampler(
        unet=cast_unet(unet, choose_precision(base, device), device),
        vae=vae,
        noise_scheduler=build_scheduler(load_scheduler_config(base), params.scheduler),
        prompt_embeds=dict(zip(["", *prompts], embeds, strict=True)),
        params=params,
        resolution_px=base.resolution_px,
    )


def sample_instance(
    sampler: Sampler, prompts: Sequence[str], seeds: Sequence[int], scratch: Path
) -> Pictures:
    """A picture for each prompt, (N,), from its seed; finished batches wait in `scratch`."""

    def sample_batch(first: int) -> Pictures:
        file = scratch / f"batch_{first:05d}.safetensors"
        tensors = read_checkpoint(file)
        if tensors is None:
            rows = slice(first, first + sampler.params.batch_size)
            pictures = sample_pictures(sampler, prompts[rows], seeds[rows])
            tensors = {name: torch.from_numpy(a) for name, a in pictures._asdict().items()}
            write_tensors(file, tensors)
        return Pictures(*(tensors[name].numpy() for name in Pictures._fields))

    with build_workers(sampler) as workers:
        batches = list(workers.map(sample_batch, range(0, len(prompts), sampler.params.batch_size)))
    return Pictures(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))
