"""Pictures from prompts, a batch at a time: noise, denoising and decoding together."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from torch import Tensor, nn

from stages.base.components import (
    DTYPES,
    load_scheduler_config,
    load_unet,
    load_vae,
)
from stages.base.device import choose_device, choose_precision
from stages.base.latents import decode_latents, measure_latents, to_uint8
from stages.config.params import BaseParams, DenoiseParams
from stages.sampling.clip_guidance import Guide, Leader
from stages.sampling.context import project_context_once
from stages.sampling.denoise import build_scheduler, denoise
from stages.sampling.experts import average_experts, note_experts, watch_routers
from stages.sampling.noise import build_generators, draw_initial_latents
from stages.sampling.update import cast_but_updates


class Sampled(NamedTuple):
    """A batch of pictures with what is known of each.

    Attributes:
        images: (B, H, W, 3) uint8.
        is_finite: (B,) bool, whether it came from finite numbers only.
        experts: B mean weights of experts by layer, see `experts`; empty without routers.
        guide_cosine: (B,), what the guide makes of it in the end; None without a guide.
    """

    images: np.ndarray
    is_finite: np.ndarray
    experts: Sequence[Mapping[str, np.ndarray]]
    guide_cosine: np.ndarray | None = None


@dataclass(frozen=True)
class Sampler:
    """All that a batch of pictures needs.

    Attributes:
        unet: In eval mode, on the device to compute on.
        vae: Float32, in eval mode.
        noise_scheduler: Built from the base's config.
        prompt_embeds: (L, D) of each prompt, of "", and of the negative prompt if there is one.
        params: Steps and guidance.
        resolution_px: Side of the pictures.
        guide: What leads the pictures, if there is one.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    noise_scheduler: SchedulerMixin
    prompt_embeds: Mapping[str, Tensor]
    params: DenoiseParams
    resolution_px: int
    guide: Guide | None = None


def build_sampler(
    base: BaseParams,
    params: DenoiseParams,
    unet: UNet2DConditionModel,
    prompt_embeds: Mapping[str, Tensor],
    vae: AutoencoderKL | None = None,
    guide: Guide | None = None,
) -> Sampler:
    """The base's own parts around a U-Net, which is cast and moved to the device.

    The VAE is the base's, unless one is given. What the U-Net has more than the base's own is not
    rounded, see `update`.
    """
    device = choose_device()
    precision = choose_precision(base, device)
    if precision != "fp32":
        cast_but_updates(unet, load_unet(base), DTYPES[precision])
    vae = load_vae(base, device) if vae is None else vae.to(device)
    measure_latents(vae, base.resolution_px)
    watch_routers(unet)
    return Sampler(
        unet=make_ready(unet, device),
        vae=vae,
        noise_scheduler=build_scheduler(load_scheduler_config(base), params.scheduler),
        prompt_embeds=prompt_embeds,
        params=params,
        resolution_px=base.resolution_px,
        guide=guide,
    )


def sample_pictures(sampler: Sampler, prompts: Sequence[str], seeds: Sequence[int]) -> Sampled:
    """A picture for each prompt, (B,), from the noise of its seed, (B,)."""
    generators = build_generators(seeds)
    latents = draw_initial_latents(generators, measure_latents(sampler.vae, sampler.resolution_px))
    text = torch.stack([sampler.prompt_embeds[prompt] for prompt in prompts])  # (B, L, D)
    uncond = sampler.prompt_embeds[sampler.params.negative_prompt or ""].expand_as(text)
    noise_scheduler = copy.deepcopy(sampler.noise_scheduler)  # it counts its steps
    guide, vae, params = sampler.guide, sampler.vae, sampler.params
    leader = Leader.of(guide, vae, prompts) if guide else None
    with note_experts() as noted:
        latents = denoise(
            sampler.unet, noise_scheduler, latents, (uncond, text), params, generators, leader
        )
    images = decode_latents(sampler.vae, latents)
    is_finite = images.isfinite().flatten(1).all(1) & latents.isfinite().flatten(1).all(1)
    uint8 = to_uint8(images)
    cosines = leader.measure(uint8).cpu().numpy() if leader else None
    experts = average_experts(noted, len(prompts))
    return Sampled(uint8, is_finite.cpu().numpy(), experts, cosines)


@contextmanager
def use_workers(sampler: Sampler) -> Iterator[ThreadPoolExecutor]:
    """What samples batches: on a CPU a worker a core, each computing with one thread; else one.

    Cores that share a batch wait for each other at every operation; with a batch each they don't.
    """
    num_cores = torch.get_num_threads()
    if sampler.unet.device.type != "cpu" or num_cores == 1:
        with ThreadPoolExecutor(1) as workers:
            yield workers
        return
    torch.set_num_threads(1)
    try:
        make_kernels(sampler)
        with ThreadPoolExecutor(num_cores) as workers:
            yield workers
    finally:
        torch.set_num_threads(num_cores)


def make_kernels(sampler: Sampler) -> None:
    """Compute one step of a batch, in this one thread, for the kernels that it leaves behind.

    oneDNN makes a kernel when it is first asked for, and shares it. In one of hundreds of runs the
    first batch was wrong, with two workers that asked at the same moment.
    """
    prompts = [""] * sampler.params.batch_size
    params = sampler.params.model_copy(update={"num_inference_steps": 1})
    sample_pictures(replace(sampler, params=params), prompts, range(len(prompts)))


def make_ready(unet: UNet2DConditionModel, device: torch.device) -> UNet2DConditionModel:
    """The U-Net on the device, ready to be called many times."""
    # The base class's `to`: diffusers' own warns of modules to keep in float32, and names none.
    nn.Module.to(unet, device)
    nn.Module.to(unet, memory_format=torch.channels_last)  # faster convolutions
    project_context_once(unet)
    return unet
