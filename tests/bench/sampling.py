"""Batched sampling against the usual loop: diffusers' pipeline called once a picture."""

import time
from functools import cache

import torch
from diffusers import StableDiffusionPipeline

from stages.base.components import load_text_encoder, load_unet
from stages.base.device import choose_device
from stages.base.latents import measure_latents
from stages.base.prompts import encode_prompts
from stages.config.params import load_params
from stages.run.memory import keep_freed_memory
from stages.sampling.noise import build_generators, draw_initial_latents
from stages.sampling.sampler import Sampler, build_sampler, sample_pictures, use_workers
from tests.bench.turns import Round, measure_by_turns

NUM_ROUNDS, NUM_SINGLE, NUM_BATCHED = 5, 6, 32


def measure_sampling() -> list[Round]:
    """Seconds a picture, of the pipeline and of our batches, with the same prompts and noise."""
    return measure_by_turns(_time_pipeline, _time_batches, NUM_ROUNDS)


def _time_pipeline() -> float:
    params = load_params()
    pipeline = _load_pipeline(params.chosen.model)
    shape = measure_latents(pipeline.vae, params.chosen.resolution_px)
    latents = draw_initial_latents(build_generators(range(NUM_SINGLE)), shape)
    started = time.perf_counter()
    for prompt, noise in zip(_list_prompts(NUM_SINGLE), latents.split(1), strict=True):
        pipeline(
            prompt,
            latents=noise,
            num_inference_steps=params.sample.num_inference_steps,
            guidance_scale=params.sample.guidance_scale,
        )
    return (time.perf_counter() - started) / NUM_SINGLE


def _time_batches() -> float:
    """As the stage samples: batches on workers."""
    keep_freed_memory()
    prompts, size = _list_prompts(NUM_BATCHED), load_params().sample.batch_size
    sampler = _load_sampler()
    num_threads = torch.get_num_threads()
    started = time.perf_counter()
    with use_workers(sampler) as workers:
        parts = [range(NUM_BATCHED)[first : first + size] for first in range(0, NUM_BATCHED, size)]
        list(workers.map(lambda p: sample_pictures(sampler, [prompts[i] for i in p], p), parts))
    seconds = time.perf_counter() - started
    torch.set_num_threads(num_threads)
    return seconds / NUM_BATCHED


@cache
def _load_sampler() -> Sampler:
    params, base = load_params(), load_params().chosen
    texts = ["", *dict.fromkeys(_list_prompts(NUM_BATCHED))]
    embeds = encode_prompts(*load_text_encoder(base, choose_device()), texts)
    by_text = dict(zip(texts, embeds, strict=True))
    return build_sampler(base, params.sample, load_unet(base), by_text)


@cache
def _load_pipeline(model: str) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(choose_device())


def _list_prompts(count: int) -> list[str]:
    marketing = load_params().prompts.marketing
    return [marketing[index % len(marketing)].prompt for index in range(count)]
