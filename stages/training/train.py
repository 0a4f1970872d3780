"""The training loop, a generator of TrainStep; logging and saving stay outside."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import nn

from stages.adapters.word import LearnedCaptions
from stages.base.components import DTYPES
from stages.config.params import FinetuneParams
from stages.run.processes import is_sharded
from stages.training.batches import (
    EncodedPairs,
    draw_batches,
    draw_prior_batches,
    draw_validation_batches,
)
from stages.training.loss import NoisyBatch, compute_loss
from stages.training.optimizer import build_optimizer
from stages.training.parallel import (
    add_up,
    average,
    average_gradients,
    take_part,
    take_turns,
)
from stages.training.sharding import shard_weights


class TrainStep(NamedTuple):
    """An optimizer step, counted from 1; the gradient norm is that before clipping."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    duration_s: float


@dataclass(frozen=True)
class Training:
    """What the loop works on.

    Attributes:
        unet: Prepared by the accelerator; only `weights` are trainable.
        weights: The trainable parameters by name, float32; maybe in shards.
        optimizer: Over `weights`, prepared by the accelerator.
        accelerator: Holds mixed precision, the loss scaler and the accumulation of batches.
        noise_scheduler: Adds noise; its config holds the prediction type.
        params: The section `finetune`.
        learning_rate: After warm-up.
        ema: The moving average of `weights`, float32, unless `ema_decay` is null.
        captions: Of method textual_inversion: the captions, which change as it learns.
        prior: Of method dreambooth: what the base makes of the class, so that it is kept.
    """

    unet: UNet2DConditionModel
    weights: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    noise_scheduler: DDPMScheduler
    params: FinetuneParams
    learning_rate: float
    ema: EMAModel | None
    captions: LearnedCaptions | None = None
    prior: EncodedPairs | None = None

    @property
    def num_timesteps(self) -> int:
        """T, of the noise schedule."""
        return self.noise_scheduler.config.num_train_timesteps


def build_training(
    unet: UNet2DConditionModel,
    weights: dict[str, nn.Parameter],
    noise_scheduler: DDPMScheduler,
    params: FinetuneParams,
    learning_rate: float,
    precision: str,
) -> Training:
    """Cast what is frozen to the precision, move all to the device and wrap it for training.

    Where they are shared out, `weights` become shards.
    """
    for parameter in unet.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(DTYPES[precision])
    accelerator = Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
    )
    if params.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if is_sharded():
        shard_weights(unet, weights, accelerator.device)
    else:
        unet.to(accelerator.device)
        nn.Module.to(unet, memory_format=torch.channels_last)  # faster convolutions
    optimizer = build_optimizer(weights.values(), params, learning_rate)
    # Not wrapped for several processes, see `parallel`: evaluation_mode leaves that out.
    unet = accelerator.prepare_model(unet, evaluation_mode=accelerator.num_processes > 1)
    optimizer = accelerator.prepare(optimizer)
    ema = None if params.ema_decay is None else EMAModel(weights.values(), params.ema_decay)
    return Training(
        unet, weights, optimizer, accelerator, noise_scheduler, params, learning_rate, ema
    )


def train(training: Training, pairs: EncodedPairs, first_step: int = 1) -> Iterator[TrainStep]:
    """Take the steps from `first_step` to `max_train_steps`, yielding after each.

    Raises:
        FloatingPointError: A loss, a gradient or, after the last step, a weight is not finite; the
            message names the step.
    """
    params = training.params
    for step in range(first_step, params.max_train_steps + 1):
        start = time.perf_counter()
        learning_rate = training.learning_rate * schedule_learning_rate(params, step)
        for group in training.optimizer.param_groups:
            group["lr"] = learning_rate
        if training.captions is not None:
            pairs = pairs._replace(prompt_embeds=training.captions.embed_for_step())
        batches = draw_batches(pairs, params, training.num_timesteps, step)
        loss, grad_norm = _take_step(training, batches, step)
        if training.ema is not None:
            training.ema.step(training.weights.values())
        if step == params.max_train_steps:
            _check_weights(training, step)
        yield TrainStep(step, loss, grad_norm, learning_rate, time.perf_counter() - start)


def schedule_learning_rate(params: FinetuneParams, step: int) -> float:
    """The part in [0, 1] of the learning rate at a 1-based step, as diffusers' `get_scheduler`.

    A linear warm-up from 0, then `lr_scheduler`.
    """
    done = step - 1
    if done < params.lr_warmup_steps:
        return done / params.lr_warmup_steps
    num_steps = max(1, params.max_train_steps - params.lr_warmup_steps)
    progress = (done - params.lr_warmup_steps) / num_steps
    factors = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }
    return factors[params.lr_scheduler]


@torch.no_grad()
def measure_validation_loss(training: Training, pairs: EncodedPairs) -> float:
    """Mean loss of what will be kept over all pairs, at the same noise and timesteps each time.

    It is not weighted by timestep, so that runs can be compared whatever they were trained with.
    """
    total = 0.0
    with use_average(training):
        if training.captions is not None:
            pairs = pairs._replace(prompt_embeds=training.captions.embed())
        batches = draw_validation_batches(pairs, training.num_timesteps)
        for batch, num_pairs in take_turns(batches):
            moved = batch.to(training.accelerator.device)
            loss = compute_loss(training.unet, training.noise_scheduler, moved)
            total += loss.item() * num_pairs
    return add_up(training.accelerator, total) / len(pairs.mean)


@contextmanager
def use_average(training: Training) -> Iterator[None]:
    """Inside, the trained weights are their moving average, if one is kept."""
    if training.ema is None:
        yield
        return
    weights = list(training.weights.values())
    training.ema.store(weights)
    training.ema.copy_to(weights)
    try:
        yield
    finally:
        training.ema.restore(weights)


def _check_weights(training: Training, step: int) -> None:
    """Refuse what the last step broke; what an earlier one breaks shows in the next loss."""
    with use_average(training):
        for name, weight in training.weights.items():
            if not torch.isfinite(weight).all():
                raise FloatingPointError(
                    f"step {step}: the weight {name} is not finite; lower finetune.learning_rate, "
                    "or use precision fp32 or bf16"
                )


def _take_step(training: Training, batches: list[NoisyBatch], step: int) -> tuple[float, float]:
    """One optimizer step; returns the loss and the gradient norm before clipping."""
    while True:
        training.optimizer.zero_grad()
        loss = _accumulate_gradients(training, batches, step)
        average_gradients(training.accelerator, training.weights.values())
        grad_norm = training.accelerator.clip_grad_norm_(
            training.weights.values(), training.params.max_grad_norm
        ).item()
        if math.isfinite(grad_norm):
            training.optimizer.step()
            return loss, grad_norm
        if not _lower_loss_scale(training):
            raise FloatingPointError(
                f"step {step}: the gradient norm is {grad_norm}; lower finetune.learning_rate, or "
                "use precision fp32 or bf16"
            )


def _accumulate_gradients(training: Training, batches: list[NoisyBatch], step: int) -> float:
    losses = []
    for terms in _list_terms(training, batches, step):
        with training.accelerator.accumulate(training.unet):
            for weight, batch in terms:
                loss = weight * compute_loss(
                    training.unet,
                    training.noise_scheduler,
                    take_part(batch).to(training.accelerator.device),
                    training.params.snr_gamma,
                )
                # The batches of a step share the captions' embeddings.
                is_shared = training.captions is not None
                training.accelerator.backward(loss, retain_graph=is_shared)
                losses.append(loss.item())
    if training.captions is not None:
        training.captions.pass_gradients()
    mean = average(training.accelerator, sum(losses) / len(batches))
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"step {step}: the loss is {mean}; lower finetune.learning_rate, or use precision fp32 "
            "or bf16"
        )
    return mean


def _list_terms(
    training: Training, batches: list[NoisyBatch], step: int
) -> list[list[tuple[float, NoisyBatch]]]:
    """The weighted terms of the loss of each batch: its own and, with a prior, that of the class.

    Ruiz et al. 2023, equation 2: E |x - x'|^2 + lambda E |x_pr - x_pr'|^2.
    """
    if training.prior is None:
        return [[(1.0, batch)] for batch in batches]
    params = training.params
    priors = draw_prior_batches(training.prior, params, training.num_timesteps, step)
    weight = params.dreambooth.prior_loss_weight
    return [[(1.0, batch), (weight, prior)] for batch, prior in zip(batches, priors, strict=True)]


def _lower_loss_scale(training: Training) -> bool:
    """Halve fp16's loss scale, so that the step can be taken again; False if that can't help.

    An overflow under a high scale is how the scaler finds its scale; it is no fault of the run.
    """
    scaler = training.accelerator.scaler
    if scaler is None or scaler.get_scale() <= 1:
        return False
    training.optimizer.step()  # skipped by the scaler, which halves its scale
    return True
