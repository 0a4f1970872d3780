"""Prior preservation (Ruiz et al. 2023, section 3.3): the class as the frozen base draws it.

Training on these beside the few pictures of one thing keeps the class from becoming that thing. It
needs the latents alone; nothing is decoded.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from tqdm import tqdm

from stages.config.params import DreamboothParams
from stages.files.tensors import read_checkpoint, read_tensors, write_tensors
from stages.run.processes import is_main_process, share_out, wait_for_all
from stages.sampling.denoise import denoise
from stages.sampling.noise import build_generators, draw_initial_latents
from stages.training.batches import EncodedPairs, derive_stream_seed

logger = logging.getLogger(__name__)

BATCH_SIZE = 16


def sample_prior(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    prompt_embeds: Tensor,
    shape: tuple[int, int, int],
    params: DreamboothParams,
    seed: int,
    scratch: Path,
) -> EncodedPairs:
    """Latents of the class, captions by turns; finished batches wait in `scratch`.

    Several processes share the batches out.


    Args:
        unet: Frozen, ready to sample.
        noise_scheduler: Built from the base's config.
        prompt_embeds: (K, L, D), of "" first, then of the captions of the class.
        shape: Of a picture's latents: channels, height, width.
        params: How many, and how they are sampled.
        seed: Of their initial noise.
        scratch: A folder for these inputs and no others.

    Raises:
        FloatingPointError: The base gives latents that are not finite.
    """
    num_captions = len(prompt_embeds) - 1
    rows = torch.arange(params.num_prior_pictures) % num_captions + 1
    batches = rows.split(BATCH_SIZE)
    files = [scratch / f"prior_{number:05d}.safetensors" for number in range(len(batches))]
    missing = [number for number, file in enumerate(files) if read_checkpoint(file) is None]
    mine = share_out(missing)
    for number in tqdm(mine, desc="prior", unit="batch", disable=not is_main_process()):
        first = number * BATCH_SIZE
        seeds = [
            derive_stream_seed(seed, "prior picture", first + place)
            for place in range(len(batches[number]))
        ]
        embeds = prompt_embeds[[0, *batches[number].tolist()]]
        latents = _sample_batch(unet, noise_scheduler, embeds, shape, params, seeds)
        write_tensors(files[number], {"latents": latents})
    wait_for_all()
    latents = torch.cat([read_tensors(file, "finetune")["latents"] for file in files])
    if not latents.isfinite().all():
        raise FloatingPointError(
            "the base gives latents that are not finite; use precision fp32 or bf16"
        )
    # As pairs whose posterior has no spread, and whose scale is in the latents already.
    return EncodedPairs(latents, torch.zeros_like(latents), 1.0, prompt_embeds, rows)


def _sample_batch(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    prompt_embeds: Tensor,
    shape: tuple[int, int, int],
    params: DreamboothParams,
    seeds: Sequence[int],
) -> Tensor:
    """Scaled latents (B, 4, h, w) on the CPU; of the embeddings (1 + B, L, D) the first is ""'s."""
    generators = build_generators(seeds)
    noise = draw_initial_latents(generators, shape)
    text = prompt_embeds[1:]
    uncond = prompt_embeds[:1].expand_as(text).contiguous()
    latents = denoise(unet, noise_scheduler, noise, (uncond, text), params, generators)
    return latents.float().cpu()
