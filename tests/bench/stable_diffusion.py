"""Stable Diffusion 1.5 with random weights: our attn2 step and our batches against the usual ones.

On a GPU in fp16, at the paper's batch of 4 pictures of 256 px; without one in float32, fewer steps
of one picture each. Each way is timed in a process of its own, one after the other.
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor
from torch.nn import functional as F

from stages.adapters.methods import choose_weights
from stages.base.components import DTYPES
from stages.base.device import choose_device
from stages.config.params import FinetuneParams, load_params
from stages.run.cost import measure_peak_memory
from stages.sampling.noise import build_generators, draw_initial_latents
from stages.sampling.sampler import Sampler, make_ready, sample_pictures, use_workers
from stages.training.batches import EncodedPairs, draw_batches
from stages.training.train import Training, build_training, train
from tests.stable_diffusion import build_text_encoder, build_unet, build_vae
from tests.unit.conftest import as_lesson

RESOLUTION_PX = 256
TEXT_LENGTH, TEXT_WIDTH, VOCABULARY_SIZE = 77, 768, 49408
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
}
"""As the base's scheduler_config.json has it."""


class Scale(NamedTuple):
    """How much is done: steps that are timed, after one that is not, and pictures."""

    precision: str
    train_batch_size: int
    num_train_steps: int
    num_inference_steps: int
    num_single: int
    batch_size: int


GPU = Scale("fp16", 4, 400, 30, 8, 16)
CPU = Scale("fp32", 1, 3, 1, 2, 16)


class Cost(NamedTuple):
    """Of one step or one picture: seconds; and the peak memory of all that was done, in GiB."""

    seconds: float
    peak_memory_gib: float


def describe_stable_diffusion() -> list[str]:
    """Tables of the costs with ratios, and how far our numbers are from the libraries' own."""
    scale = choose_scale()
    return [
        f"{name_device()}, {scale.precision}, torch {torch.__version__}; {RESOLUTION_PX} px",
        "",
        f"A step of {scale.train_batch_size}, mean of {scale.num_train_steps}:",
        "",
        *tabulate(
            {
                "whole U-Net, VAE and text encoder in the loop": time_whole_step,
                "attn2, VAE and text encoder in the loop": time_attn2_step,
                "attn2 on cached pairs (attune)": time_our_step,
            }
        ),
        "",
        f"A picture of {scale.num_inference_steps} DDIM steps, guidance 7.5:",
        "",
        *tabulate(
            {
                "one at a time, by diffusers' pipeline": time_single_pictures,
                f"batches of {scale.batch_size} (attune)": time_our_pictures,
            }
        ),
        "",
        f"First loss, ours against that of plain diffusers: {run_alone(compare_losses):.1e} apart",
        f"First picture, likewise: {run_alone(compare_pictures):g} levels of 255 apart at the most",
    ]


def tabulate(ways: dict[str, Callable[[], Cost]]) -> list[str]:
    """A row a way; the last is ours, and the ratio is how many times faster it is."""
    costs = {what: run_alone(way) for what, way in ways.items()}
    ours = list(costs.values())[-1]
    rows = (
        f"| {what} | {cost.seconds:.3g} | {cost.seconds / ours.seconds:.2f}x "
        f"| {cost.peak_memory_gib:.2f} |"
        for what, cost in costs.items()
    )
    return ["| way | s | ours is faster | peak GiB |", "| --- | --- | --- | --- |", *rows]


def run_alone(way: Callable[[], object]) -> object:
    """What it returns, called in a process of its own: its peak of memory is then its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(way).result()


def choose_scale() -> Scale:
    """What this machine can do in minutes."""
    return GPU if torch.cuda.is_available() else CPU


def name_device() -> str:
    """The GPU's name, or how many threads of a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads"


def time_whole_step() -> Cost:
    """As examples/text_to_image/train_text_to_image.py of diffusers takes a step."""
    return time_usual_step(lambda name: True)


def time_attn2_step() -> Cost:
    """The same for cross-attention alone."""
    return time_usual_step(lambda name: ".attn2." in name)


def time_cached_whole_step() -> Cost:
    """The whole U-Net on latents and embeddings that were computed before."""
    return time_usual_step(lambda name: True, is_cached=True)


def time_lora_step() -> Cost:
    """As examples/text_to_image/train_text_to_image_lora.py of diffusers takes a step."""
    return time_usual_step(lambda name: ".lora_" in name)


def time_usual_step(is_trained: Callable[[str], bool], is_cached: bool = False) -> Cost:
    """Pictures and captions are encoded at each step; what is frozen is in half precision."""
    scale, device = choose_scale(), choose_device()
    dtype = DTYPES[scale.precision]
    is_half = dtype != torch.float32
    torch.manual_seed(0)
    vae = build_vae().to(device, dtype).requires_grad_(False).eval()
    text_encoder = build_text_encoder().to(device, dtype).requires_grad_(False).eval()
    unet = build_unet().to(device).train()
    if is_trained(".lora_") and not is_trained(""):
        lora = load_params().finetune.lora
        unet.add_adapter(
            LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets)
        )
    for name, weight in unet.named_parameters():
        weight.requires_grad_(is_trained(name))
        if not weight.requires_grad:
            weight.data = weight.data.to(dtype)
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-6)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    noise_scheduler = DDPMScheduler(**SCHEDULE)
    count = scale.train_batch_size
    size = (count, 3, RESOLUTION_PX, RESOLUTION_PX)
    pixel_values = torch.rand(size, device=device, dtype=dtype) * 2 - 1
    ids = torch.randint(VOCABULARY_SIZE, (count, TEXT_LENGTH), device=device)

    @torch.no_grad()
    def encode() -> tuple[Tensor, Tensor]:
        latents = vae.encode(pixel_values).latent_dist.sample() * vae.config.scaling_factor
        return latents, text_encoder(ids)[0]

    cached = encode()
    if is_cached:
        vae, text_encoder = vae.to("cpu"), text_encoder.to("cpu")

    def take_step() -> float:
        latents, embeds = cached if is_cached else encode()
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (count,), device=device)
        noisy = noise_scheduler.add_noise(latents, noise, timesteps)
        with torch.autocast(device.type, dtype=dtype, enabled=is_half):
            pred = unet(noisy, timesteps, embeds).sample
        loss = F.mse_loss(pred.float(), noise.float())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return loss.item()

    return time_calls(take_step, scale.num_train_steps)


def time_our_step(method: str = "attn2") -> Cost:
    """The steps of the stage itself."""
    scale = choose_scale()
    settings = load_finetune_params(scale.num_train_steps + 1, method)  # the first is left out
    training = build_our_training(build_unet(), settings)
    steps = train(training, as_lesson(training, make_pairs()))
    return time_calls(lambda: next(steps), scale.num_train_steps)


def time_single_pictures() -> Cost:
    """diffusers' pipeline, called once a picture with its embeddings."""
    scale, pipeline, embeds = choose_scale(), build_pipeline(), make_prompt_embeds()
    return time_calls(lambda: call_pipeline(pipeline, embeds, seed=0), scale.num_single)


def time_our_pictures() -> Cost:
    """As the stage samples: a batch on each worker."""
    scale, sampler = choose_scale(), build_our_sampler()
    seeds = range(scale.batch_size)
    num_workers = torch.get_num_threads() if sampler.unet.device.type == "cpu" else 1
    with use_workers(sampler) as workers:

        def sample_batches() -> None:
            parts = [["a prompt"] * len(seeds)] * num_workers
            list(workers.map(lambda part: sample_pictures(sampler, part, seeds), parts))

        cost = time_calls(sample_batches, 1)
    return cost._replace(seconds=cost.seconds / (num_workers * len(seeds)))


def compare_losses() -> float:
    """How far our first loss is from a forward pass of the same batch through plain diffusers."""
    torch.manual_seed(0)
    settings, pairs = load_finetune_params(1), make_pairs()
    unet = build_unet()
    training = build_our_training(unet, settings)
    (batch,) = draw_batches(pairs, settings, 1000, 1)
    with torch.no_grad(), torch.autocast(unet.device.type, enabled=unet.device.type == "cuda"):
        moved = batch.to(unet.device)
        noisy = DDPMScheduler(**SCHEDULE).add_noise(moved.latents, moved.noise, moved.timesteps)
        pred = unet(noisy, moved.timesteps, moved.prompt_embeds).sample
    expected = F.mse_loss(pred.float(), moved.noise.float()).item()
    return abs(next(train(training, as_lesson(training, pairs))).loss - expected)


def compare_pictures() -> float:
    """The largest difference of a value, 0 to 255, between our picture and the pipeline's."""
    torch.manual_seed(0)
    pipeline, embeds = build_pipeline(), make_prompt_embeds()
    expected = call_pipeline(pipeline, embeds, seed=0)
    ours = sample_pictures(build_our_sampler(pipeline), ["a prompt"], [0]).images[0]
    return float(np.abs(ours.astype(int) - expected.astype(int)).max())


def time_calls(call: Callable[[], object], num_calls: int) -> Cost:
    """Seconds a call, after one that is not counted: it chooses kernels and allocates."""
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(num_calls):
        call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / num_calls
    return Cost(seconds, measure_peak_memory() / 2**10)


def load_finetune_params(num_steps: int, method: str = "attn2") -> FinetuneParams:
    """Those of params.yaml for a method, at the batch of this machine."""
    changes = {"method": method, "max_train_steps": num_steps}
    changes["train_batch_size"] = choose_scale().train_batch_size
    return load_params().finetune.model_copy(update=changes)


def build_our_training(unet: UNet2DConditionModel, settings: FinetuneParams) -> Training:
    """As the stage `finetune` builds it."""
    weights = choose_weights(unet, settings)
    return build_training(unet, weights, settings, 1e-6, choose_scale().precision)


def make_pairs(count: int = 16) -> EncodedPairs:
    """Random latents and embeddings: a step costs the same whatever they hold."""
    side = RESOLUTION_PX // 8
    return EncodedPairs(
        mean=torch.randn(count, 4, side, side),
        std=torch.full((count, 4, side, side), 0.1),
        scaling_factor=1.0,
        prompt_embeds=torch.randn(4, TEXT_LENGTH, TEXT_WIDTH),
        caption_index=torch.randint(4, (count,)),
    )


def make_prompt_embeds() -> Tensor:
    """(2, L, D), of the empty prompt and of another one."""
    return torch.randn(2, TEXT_LENGTH, TEXT_WIDTH, generator=torch.Generator().manual_seed(0))


def build_pipeline() -> StableDiffusionPipeline:
    """diffusers' own, its U-Net and VAE in the precision of this machine."""
    dtype = DTYPES[choose_scale().precision]
    pipeline = StableDiffusionPipeline(
        vae=build_vae(),
        text_encoder=None,
        tokenizer=None,
        unet=build_unet(),
        scheduler=DDIMScheduler(**SCHEDULE, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(choose_device(), dtype)


def call_pipeline(pipeline: StableDiffusionPipeline, embeds: Tensor, seed: int) -> np.ndarray:
    """One picture, uint8 (H, W, 3)."""
    side = RESOLUTION_PX // 8
    uncond, text = embeds.to(pipeline.unet.device, pipeline.unet.dtype).split(1)
    noise = draw_initial_latents(build_generators([seed]), (4, side, side))
    (image,) = pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=uncond,
        latents=noise.to(pipeline.unet.dtype),
        num_inference_steps=choose_scale().num_inference_steps,
        guidance_scale=load_params().sample.guidance_scale,
    ).images
    return np.asarray(image)


def build_our_sampler(pipeline: StableDiffusionPipeline | None = None) -> Sampler:
    """As the stage `sample` builds it, of the pipeline's weights if there is one."""
    scale, device = choose_scale(), choose_device()
    unet = pipeline.unet if pipeline else build_unet()
    vae = pipeline.vae if pipeline else build_vae()
    changes = {"num_inference_steps": scale.num_inference_steps}
    return Sampler(
        unet=make_ready(unet.requires_grad_(False).eval().to(DTYPES[scale.precision]), device),
        vae=vae.to(device, torch.float32).requires_grad_(False).eval(),
        noise_scheduler=DDIMScheduler(**SCHEDULE, set_alpha_to_one=False),
        prompt_embeds=dict(zip(["", "a prompt"], make_prompt_embeds(), strict=True)),
        params=load_params().sample.model_copy(update=changes),
        resolution_px=RESOLUTION_PX,
    )
