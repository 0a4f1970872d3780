"""fp16's loss scale, on the CPU, where torch has a scaler as well."""

import dataclasses
import math
from collections.abc import Container

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from stages.adapters.methods import choose_weights
from stages.base.components import load_noise_scheduler, load_unet
from stages.config.params import BaseParams
from stages.training.batches import EncodedPairs, draw_batches
from stages.training.loss import compute_loss
from stages.training.optimizer import build_optimizer
from stages.training.train import Training, build_training, schedule_learning_rate, train
from tests.unit.conftest import as_lesson, build_finetune_params

SCALE, GROWTH_INTERVAL = 2.0**16, 2
OVERFLOWS = {1, 2, 5}
"""Of the attempts at a step: two before the first step is taken, and one before the third."""


def start(base: BaseParams) -> tuple[Training, torch.amp.GradScaler]:
    """A training whose accelerator handles a scaler as it does for fp16 on a GPU."""
    unet, params = load_unet(base), build_finetune_params(max_train_steps=4)
    weights = choose_weights(unet, params)
    training = build_training(unet, weights, params, params.learning_rate, "fp32")
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=GROWTH_INTERVAL)
    accelerator = training.accelerator
    accelerator.scaler, accelerator.native_amp = scaler, True
    accelerator.state._mixed_precision = "fp16"
    optimizer = AcceleratedOptimizer(training.optimizer.optimizer, scaler=scaler)
    return dataclasses.replace(training, optimizer=optimizer), scaler


def overflow(weight: nn.Parameter, attempts: Container[int]) -> list[int]:
    """Make the gradient of a weight infinite at some attempts; the list grows by one at each."""
    made: list[int] = []

    def break_it(gradient: Tensor) -> Tensor:
        made.append(len(made) + 1)
        return gradient * math.inf if made[-1] in attempts else gradient

    weight.register_hook(break_it)
    return made


def test_an_overflow_halves_the_scale_and_the_step_is_taken_again_as_torchs_own_scaler_does(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    training, scaler = start(base)
    made = overflow(next(iter(training.weights.values())), OVERFLOWS)
    scales, losses = [], []
    for record in train(training, as_lesson(training, pairs)):
        scales.append(scaler.get_scale())
        losses.append(record.loss)
    assert len(made) == 4 + len(OVERFLOWS)
    # Halved twice; doubled after two good steps; halved; one good step is none too many.
    assert scales == [SCALE / 4, SCALE / 2, SCALE / 4, SCALE / 2]
    expected_losses, expected = train_by_hand(base, pairs)
    assert losses == expected_losses
    for name, weight in training.weights.items():
        assert torch.equal(weight, expected[name]), name


def train_by_hand(
    base: BaseParams, pairs: EncodedPairs
) -> tuple[list[float], dict[str, nn.Parameter]]:
    """The same steps with torch's optimizer and scaler alone: losses and weights."""
    unet, params = load_unet(base), build_finetune_params(max_train_steps=4)
    weights = choose_weights(unet, params)
    unet.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(weights.values(), params, params.learning_rate)
    noise_scheduler = load_noise_scheduler(base)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=GROWTH_INTERVAL)
    overflow(next(iter(weights.values())), OVERFLOWS)
    losses = []
    for step in range(1, 5):
        factor = schedule_learning_rate(params, step)
        optimizer.param_groups[0]["lr"] = params.learning_rate * factor
        (batch,) = draw_batches(pairs, params, 1000, step)
        is_skipped = True
        while is_skipped:
            scale = scaler.get_scale()
            optimizer.zero_grad()
            loss = compute_loss(unet, noise_scheduler, batch)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(weights.values(), params.max_grad_norm)
            scaler.step(optimizer)
            scaler.update()
            is_skipped = scaler.get_scale() < scale
        losses.append(loss.item())
    return losses, weights


def test_what_no_scale_can_mend_is_an_error_that_names_the_step(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    training, scaler = start(base)
    weight = next(iter(training.weights.values()))
    before = weight.detach().clone()
    made = overflow(weight, range(100))
    with pytest.raises(FloatingPointError, match="step 1: the gradient norm is"):
        next(train(training, as_lesson(training, pairs)))
    assert scaler.get_scale() == 1
    assert len(made) == 1 + math.log2(SCALE)
    assert torch.equal(weight, before)
