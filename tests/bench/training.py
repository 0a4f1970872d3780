"""Our attn2 step on cached pairs against the usual one: whole U-Net, encoders in the loop."""

import statistics
import sys
import time
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch.nn import functional as F

from stages.adapters.methods import choose_weights
from stages.base.components import load_unet
from stages.config.params import Params, load_params
from stages.run.memory import keep_freed_memory
from stages.training.batches import EncodedPairs
from stages.training.checkpoints import CheckpointWriter
from stages.training.optimizer import resolve_learning_rate
from stages.training.resume import History, pack_checkpoint
from stages.training.train import Training, build_training, train
from tests.bench.turns import Round, measure_by_turns
from tests.unit.conftest import as_lesson

NUM_ROUNDS, NUM_STEPS, NUM_CHECKPOINTS = 5, 15, 10


def measure_training() -> list[Round]:
    """Seconds a step, of the usual one and of ours."""
    return measure_by_turns(_time_usual, _time_ours, NUM_ROUNDS)


def _time_usual() -> float:
    """As examples/text_to_image/train_text_to_image.py of diffusers takes a step, in float32."""
    params = load_params()
    pipeline = StableDiffusionPipeline.from_pretrained(params.chosen.model)
    unet = load_unet(params.chosen).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-6)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    size, count = params.chosen.resolution_px, params.finetune.train_batch_size
    pixel_values = torch.rand(count, 3, size, size) * 2 - 1
    ids = pipeline.tokenizer(
        ["a photo of a cat"] * count,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids

    def take_step() -> None:
        with torch.no_grad():
            posterior = pipeline.vae.encode(pixel_values).latent_dist
            latents = posterior.sample() * pipeline.vae.config.scaling_factor
            prompt_embeds = pipeline.text_encoder(ids)[0]
        noise = torch.randn_like(latents)
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (count,))
        noisy_latents = scheduler.add_noise(latents, noise, timesteps)
        loss = F.mse_loss(unet(noisy_latents, timesteps, prompt_embeds).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    take_step()
    started = time.perf_counter()
    for _ in range(NUM_STEPS):
        take_step()
    return (time.perf_counter() - started) / NUM_STEPS


def measure_checkpoints(folder: Path) -> float:
    """The part of training's time that it waits for checkpoints at the interval of params.yaml."""
    training, pairs = _build_ours()
    history = History(list(train(training, as_lesson(training, pairs))))
    seconds = []
    with CheckpointWriter(folder / "checkpoint.safetensors") as writer:
        for _ in range(NUM_CHECKPOINTS):
            writer.write(lambda: pack_checkpoint(training, history))
            seconds.append(writer.waited_s)
            writer.finish()
    step = statistics.median(step.duration_s for step in history.steps)
    between = step * training.params.checkpoint_steps
    sys.stdout.write(f"a checkpoint: {statistics.median(seconds):.3f} s, every {between:.1f} s\n")
    return statistics.median(seconds) / between


def _time_ours() -> float:
    """The steps of the stage itself, the first one left out."""
    training, pairs = _build_ours()
    seconds = [step.duration_s for step in train(training, as_lesson(training, pairs))]
    return sum(seconds[1:]) / NUM_STEPS


def _build_ours() -> tuple[Training, EncodedPairs]:
    """As the stage builds it, for one step more than counts."""
    keep_freed_memory()
    params = load_params()
    pairs = _make_pairs(StableDiffusionPipeline.from_pretrained(params.chosen.model), params)
    settings = params.finetune.model_copy(update={"max_train_steps": NUM_STEPS + 1})
    unet = load_unet(params.chosen)
    weights = choose_weights(unet, settings)
    training = build_training(
        unet,
        weights,
        settings,
        resolve_learning_rate(settings, params.chosen),
        params.chosen.precision,
    )
    return training, pairs


def _make_pairs(pipeline: StableDiffusionPipeline, params: Params, count: int = 64) -> EncodedPairs:
    """Random latents and embeddings: a step costs the same whatever they hold."""
    side = params.chosen.resolution_px // pipeline.vae_scale_factor
    shape = (count, pipeline.unet.config.in_channels, side, side)
    length, width = pipeline.tokenizer.model_max_length, pipeline.unet.config.cross_attention_dim
    return EncodedPairs(
        mean=torch.randn(shape),
        std=torch.full(shape, 0.1),
        scaling_factor=1.0,
        prompt_embeds=torch.randn(4, length, width),
        caption_index=torch.randint(4, (count,)),
    )
