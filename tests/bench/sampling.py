"""Batched sampling against the usual loop: diffusers' pipeline called once a picture."""

import time

import torch
from diffusers import StableDiffusionPipeline

from stages.config.params import Params, load_params
from stages.diffusion.components import (
    choose_device,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.diffusion.denoise import build_scheduler
from stages.diffusion.noise import build_generators, draw_initial_latents
from stages.diffusion.prompts import encode_prompts
from stages.diffusion.sampling import (
    Sampler,
    build_workers,
    cast_unet,
    measure_latents,
    sample_pictures,
)

NUM_ROUNDS, NUM_SINGLE, NUM_BATCHED = 3, 8, 64


def measure_sampling() -> list[float]:
    """Per round: seconds a picture of the pipeline over seconds a picture of a batch of ours."""
    params = load_params()
    base, count = params.chosen, NUM_BATCHED
    prompts = [row.prompt for row in params.prompts.marketing]
    prompts = [prompts[i % len(prompts)] for i in range(count)]
    seeds = list(range(count))
    sampler, pipeline = _build_sampler(params, prompts), _build_pipeline(base.model)
    shape = measure_latents(sampler.vae, base.resolution_px)
    latents = draw_initial_latents(build_generators(seeds), shape)
    ratios = []
    for _ in range(NUM_ROUNDS):
        started = time.perf_counter()
        for index in range(NUM_SINGLE):
            pipeline(
                prompts[index % len(prompts)],
                latents=latents[index : index + 1],
                num_inference_steps=params.sample.num_inference_steps,
                guidance_scale=params.sample.guidance_scale,
            )
        single = (time.perf_counter() - started) / NUM_SINGLE
        started = time.perf_counter()
        _sample_in_batches(sampler, prompts, seeds, params.sample.batch_size)
        batched = (time.perf_counter() - started) / count
        ratios.append(single / batched)
        size = params.sample.batch_size
        _say(f"sampling: {single:.3f} s a picture alone, {batched:.3f} s in batches of {size}")
    return ratios


def _sample_in_batches(
    sampler: Sampler, prompts: list[str], seeds: list[int], batch_size: int
) -> None:
    """As the stage samples: batches on workers."""
    num_threads = torch.get_num_threads()
    with build_workers(sampler.unet.device) as workers:
        firsts = range(0, len(prompts), batch_size)
        parts = [slice(first, first + batch_size) for first in firsts]
        list(workers.map(lambda p: sample_pictures(sampler, prompts[p], seeds[p]), parts))
    torch.set_num_threads(num_threads)  # the pipeline's turn again


def _build_sampler(params: Params, prompts: list[str]) -> Sampler:
    base, device = params.chosen, choose_device()
    distinct = ["", *dict.fromkeys(prompts)]
    embeds = encode_prompts(*load_text_encoder(base, device), distinct)
    return Sampler(
        unet=cast_unet(load_unet(base), base.precision, device),
        vae=load_vae(base, device),
        noise_scheduler=build_scheduler(load_scheduler_config(base), params.sample.scheduler),
        prompt_embeds=dict(zip(distinct, embeds, strict=True)),
        params=params.sample,
        resolution_px=base.resolution_px,
    )


def _build_pipeline(model: str) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(choose_device())


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
