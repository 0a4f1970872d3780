"""The training loop, a generator of TrainStep; logging and saving stay outside."""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from stages.base.components import DTYPES
from stages.config.params import FinetuneParams
from stages.run.peaks import watch_part
from stages.run.processes import is_sharded
from stages.training.full_precision import keep_trained_in_full
from stages.training.lesson import Lesson, Terms
from stages.training.optimizer import build_optimizer
from stages.training.parallel import average_gradients, reduce, take_turns
from stages.training.sharding import make_whole, shard_weights

REMEDY = "lower finetune.learning_rate, or use precision fp32 or bf16"


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
        model: Prepared by the accelerator; `weights` are all of it that is trainable, if any is.
        weights: The trainable parameters by name, float32; maybe in shards.
        optimizer: Over `weights`, prepared by the accelerator.
        accelerator: Holds mixed precision, the loss scaler and the accumulation of batches.
        params: The section `finetune`.
        learning_rate: After warm-up.
        ema: The moving average of `weights`, float32, unless `ema_decay` is none.
    """

    model: nn.Module
    weights: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    params: FinetuneParams
    learning_rate: float
    ema: EMAModel | None


def build_training(
    model: Any,
    weights: dict[str, nn.Parameter],
    params: FinetuneParams,
    learning_rate: float,
    precision: str,
) -> Training:
    """Cast what is frozen to the precision, move all to the device and wrap it for training.

    Where they are shared out, `weights` become shards.
    """
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(DTYPES[precision])
    accelerator = Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
    )
    if params.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if is_sharded():
        shard_weights(model, weights, accelerator.device)
    else:
        model.to(accelerator.device)
        nn.Module.to(model, memory_format=torch.channels_last)  # faster convolutions
    optimizer = build_optimizer(weights.values(), params, learning_rate)
    # Not wrapped for several processes, see `parallel`: evaluation_mode leaves that out.
    model = accelerator.prepare_model(model, evaluation_mode=accelerator.num_processes > 1)
    optimizer = accelerator.prepare(optimizer)
    ema = None if params.ema_decay is None else EMAModel(weights.values(), params.ema_decay)
    return Training(model, weights, optimizer, accelerator, params, learning_rate, ema)


def train(training: Training, lesson: Lesson, first_step: int = 1) -> Iterator[TrainStep]:
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
        loss, grad_norm = _take_step(training, lesson, step)
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


def measure_frozen(unet: nn.Module, lesson: Lesson, precision: str) -> float:
    """The validation loss of a U-Net that is not trained here; it stays as it is.

    All of it counts as trained, so that no precision rounds away what it was given.
    """
    copied = copy.deepcopy(unet).requires_grad_(True)
    weights = dict(copied.named_parameters())
    return measure_validation_loss(
        build_training(copied, weights, lesson.params, 0.0, precision), lesson
    )


@torch.no_grad()
@watch_part("validation")
def measure_validation_loss(training: Training, lesson: Lesson) -> float:
    """Mean loss of what will be kept over the validation pairs of the lesson; nan without any.

    It is not weighted by timestep, so that runs can be compared whatever they were trained with.
    What was trained is not rounded to the precision, as it isn't where pictures are sampled.
    """
    total = count = 0.0
    with use_average(training), keep_trained_in_full(training.model, training.accelerator):
        for batch, num_pairs in take_turns(lesson.validation()):
            total += lesson.compute_loss(training.model, batch).item() * num_pairs
            count += num_pairs
    total, count = (reduce(training.accelerator, value, "sum") for value in (total, count))
    return total / count if count else math.nan


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
                raise FloatingPointError(f"step {step}: the weight {name} is not finite; {REMEDY}")


def _take_step(training: Training, lesson: Lesson, step: int) -> tuple[float, float]:
    """One optimizer step; returns the loss and the gradient norm before clipping."""
    while True:
        training.optimizer.zero_grad()
        batches = lesson.draw(step)
        losses = _accumulate_gradients(training, lesson, batches)
        lesson.finish_step()
        average_gradients(training.accelerator, training.weights.values())
        norm = training.accelerator.clip_grad_norm_(
            training.weights.values(), training.params.max_grad_norm
        )
        # In one copy: for each the host would wait until the GPU has nothing left to do.
        *terms, grad_norm = torch.stack([*losses, make_whole(norm)]).cpu().tolist()
        loss = reduce(training.accelerator, sum(terms) / len(batches), "mean")
        if not math.isfinite(loss):
            raise FloatingPointError(f"step {step}: the loss is {loss}; {REMEDY}")
        if math.isfinite(grad_norm):
            training.optimizer.step()
            return loss, grad_norm
        if not _lower_loss_scale(training):
            raise FloatingPointError(f"step {step}: the gradient norm is {grad_norm}; {REMEDY}")


def _accumulate_gradients(
    training: Training, lesson: Lesson, batches: Sequence[Terms]
) -> list[Tensor]:
    """Leave the gradients of all batches; returns the loss of each term, on the device."""
    losses = []
    for terms in batches:
        with training.accelerator.accumulate(training.model):
            for weight, batch in terms:
                error = lesson.compute_loss(training.model, batch, training.params.snr_gamma)
                loss = weight * error
                training.accelerator.backward(loss)
                losses.append(loss.detach())
    return losses


def _lower_loss_scale(training: Training) -> bool:
    """Halve fp16's loss scale, so that the step can be taken again; False if that can't help.

    An overflow under a high scale is how the scaler finds its scale; it is no fault of the run.
    """
    scaler = training.accelerator.scaler
    if scaler is None or scaler.get_scale() <= 1:
        return False
    training.optimizer.step()  # skipped by the scaler, which halves its scale
    return True
