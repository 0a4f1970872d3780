import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_scheduler

from stages.adapters.methods import choose_weights, copy_weights
from stages.base.components import load_noise_scheduler, load_unet
from stages.config.params import BaseParams
from stages.files.tensors import read_checkpoint, write_tensors
from stages.training.batches import EncodedPairs, draw_batches
from stages.training.lesson import Lesson
from stages.training.resume import History, pack_checkpoint, unpack_checkpoint
from stages.training.train import (
    Training,
    build_training,
    measure_frozen,
    measure_validation_loss,
    schedule_learning_rate,
    train,
    use_average,
)
from tests.unit.conftest import as_lesson, build_finetune_params


def start(base: BaseParams, precision: str = "fp32", **changes: object) -> Training:
    unet = load_unet(base)
    params = build_finetune_params(**changes)
    weights = choose_weights(unet, params)
    return build_training(unet, weights, params, params.learning_rate, precision)


def test_only_cross_attention_trains(base: BaseParams, pairs: EncodedPairs) -> None:
    training = start(base)
    before = {n: w.clone() for n, w in training.model.state_dict().items()}
    list(train(training, as_lesson(training, pairs)))
    for name, weight in training.model.state_dict().items():
        assert torch.equal(weight, before[name]) == (".attn2." not in name), name


def test_zero_learning_rate_changes_no_bit(base: BaseParams, pairs: EncodedPairs) -> None:
    training = start(base, learning_rate=0)
    before = copy_weights(training.weights)
    list(train(training, as_lesson(training, pairs)))
    assert all(torch.equal(before[n], w) for n, w in copy_weights(training.weights).items())


@pytest.mark.parametrize("seed", range(5))
def test_training_lowers_the_validation_loss(
    base: BaseParams, pairs: EncodedPairs, seed: int
) -> None:
    training = start(base, seed=seed, max_train_steps=12, lr_scheduler="constant")
    before = measure_validation_loss(training, as_lesson(training, pairs))
    list(train(training, as_lesson(training, pairs)))
    assert measure_validation_loss(training, as_lesson(training, pairs)) < before


def test_four_accumulated_batches_of_one_equal_one_of_four(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    # A large epsilon: else Adam takes the sign of gradients that are rounding alone.
    whole = start(base, train_batch_size=4, adam_epsilon=1e-3)
    whole_steps = list(train(whole, as_lesson(whole, pairs)))
    parts = start(base, train_batch_size=1, gradient_accumulation_steps=4, adam_epsilon=1e-3)
    for one, other in zip(whole_steps, train(parts, as_lesson(parts, pairs)), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(weight, parts.weights[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["attn2", "lora", "hydra_lora"])
def test_gradient_checkpointing_keeps_less_and_gives_the_same_loss_and_gradients(
    base: BaseParams, pairs: EncodedPairs, method: str
) -> None:
    plain = start(base, method=method)
    saving = start(base, method=method, gradient_checkpointing=True)
    (batch,) = draw_batches(pairs, plain.params, 1000, step=1)
    losses, kept = [], []
    for training in (plain, saving):
        loss, num_bytes = measure_saved(
            lambda t=training: as_lesson(t, pairs).compute_loss(t.model, batch)
        )
        loss.backward()
        losses.append(loss.item())
        kept.append(num_bytes)
    assert kept[1] < kept[0] / 2
    assert losses[0] == losses[1]
    for name, weight in plain.weights.items():
        torch.testing.assert_close(saving.weights[name].grad, weight.grad, rtol=1e-5, atol=1e-8)
    assert any(weight.grad.abs().max() > 0 for weight in plain.weights.values())


def measure_saved(compute: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """What is computed, and the bytes that autograd keeps for its gradient, weights included."""
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()
    return result, sum(storages.values())


def test_attention_is_pytorchs_fused_one(
    base: BaseParams, pairs: EncodedPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = start(base, max_train_steps=1)
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def count(*args: object, **options: object) -> torch.Tensor:
        calls.append(args)
        return fused(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    list(train(training, as_lesson(training, pairs)))
    num_layers = sum(
        name.endswith(("attn1", "attn2")) for name, _ in training.model.named_modules()
    )
    assert len(calls) == num_layers > 0


def test_the_average_is_of_the_weights_of_all_steps(base: BaseParams, pairs: EncodedPairs) -> None:
    training = start(base, ema_decay=0.15)
    expected = {name: weight.double() for name, weight in copy_weights(training.weights).items()}
    for record in train(training, as_lesson(training, pairs)):
        # diffusers begins with low decays: 0, then 2 / 11 and up, until ema_decay is reached.
        decay = 0.0 if record.step == 1 else 0.15
        for name, weight in training.weights.items():
            expected[name] = decay * expected[name] + (1 - decay) * weight.detach().double()
    last = copy_weights(training.weights)
    with use_average(training):
        average = copy_weights(training.weights)
    assert {weight.dtype for weight in average.values()} == {torch.float32}
    for name, weight in training.weights.items():
        torch.testing.assert_close(average[name].double(), expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(average[name], last[name])
        assert torch.equal(weight, last[name])


def test_the_validation_loss_is_of_the_average(base: BaseParams, pairs: EncodedPairs) -> None:
    training = start(base, ema_decay=0.9, max_train_steps=3, lr_scheduler="constant")
    list(train(training, as_lesson(training, pairs)))
    loss = measure_validation_loss(training, as_lesson(training, pairs))
    with use_average(training):
        average = copy_weights(training.weights)
    plain = start(base)
    assert measure_validation_loss(plain, as_lesson(plain, pairs)) != loss
    with torch.no_grad():
        for name, weight in plain.weights.items():
            weight.copy_(average[name])
    assert measure_validation_loss(plain, as_lesson(plain, pairs)) == loss


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9},
        {"method": "full"},
        {"method": "full", "optimizer": "adamw_8bit"},
        {"method": "hydra_lora", "ema_decay": 0.9},
        {"method": "hydra_lora", "optimizer": "adamw_8bit"},
    ],
)
def test_a_resumed_run_has_the_same_bytes(
    base: BaseParams, pairs: EncodedPairs, tmp_path: Path, changes: dict[str, object]
) -> None:
    straight = start(base, **changes)
    history = History(list(train(straight, as_lesson(straight, pairs))))
    killed = start(base, **changes)
    first = History(
        [
            record
            for _, record in zip(range(2), train(killed, as_lesson(killed, pairs)), strict=False)
        ]
    )
    first.validation.append((0, 0.1))
    write_tensors(tmp_path / "checkpoint.safetensors", pack_checkpoint(killed, first))
    resumed = start(base, **changes)
    second = unpack_checkpoint(resumed, read_checkpoint(tmp_path / "checkpoint.safetensors"))
    assert second == first
    second.steps += train(resumed, as_lesson(resumed, pairs), second.next_step)
    assert [s[:4] for s in second.steps] == [s[:4] for s in history.steps]  # all but seconds
    with use_average(straight), use_average(resumed):
        for name, weight in straight.weights.items():
            assert torch.equal(weight, resumed.weights[name]), name


def test_bfloat16_freezes_in_bfloat16_and_trains_in_float32(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    training = start(base, precision="bf16")
    steps = list(train(training, as_lesson(training, pairs)))
    assert {w.dtype for w in training.weights.values()} == {torch.float32}
    assert training.model.conv_in.weight.dtype == torch.bfloat16
    assert all(math.isfinite(step.loss) for step in steps)


@pytest.mark.parametrize("method", ["attn2", "full", "lora", "hydra_lora"])
def test_the_validation_loss_sees_an_update_that_the_precision_would_round_away(
    base: BaseParams, pairs: EncodedPairs, method: str
) -> None:
    training = start(base, precision="bf16", method=method)
    if "lora" in method:  # of which one half is 0 at the start
        for weight in training.weights.values():
            weight.data += 0.1
    lesson = as_lesson(training, pairs)
    before = measure_validation_loss(training, lesson)
    for weight in training.weights.values():
        if weight.ndim == 1:  # most of these are norms', which autocast computes in float32
            continue
        update = 1e-3 * weight.detach()
        update[(weight + update).bfloat16() != weight.bfloat16()] = 0
        weight.data += update
    after = measure_validation_loss(training, lesson)
    again = measure_validation_loss(training, lesson)
    assert before != after == again


def test_an_import_that_the_precision_would_round_away_changes_the_validation_loss(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    unet = load_unet(base)
    noise_scheduler = load_noise_scheduler(base)
    lesson = Lesson({}, pairs, pairs, build_finetune_params(), noise_scheduler)
    before = measure_frozen(unet, lesson, "bf16")
    for weight in unet.parameters():
        update = 1e-3 * weight
        update[(weight + update).bfloat16() != weight.bfloat16()] = 0
        weight.add_(update)
    assert measure_frozen(unet, lesson, "bf16") != before


def test_a_loss_that_is_not_finite_names_the_step(base: BaseParams, pairs: EncodedPairs) -> None:
    training = start(base)
    steps = train(training, as_lesson(training, pairs))
    assert [next(steps).step, next(steps).step] == [1, 2]
    with torch.no_grad():
        next(iter(training.weights.values())).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 3: the loss is nan"):
        next(steps)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_weight_that_the_last_step_breaks_names_the_step(
    base: BaseParams,
    pairs: EncodedPairs,
    monkeypatch: pytest.MonkeyPatch,
    ema_decay: float | None,
) -> None:
    training = start(base, max_train_steps=2, ema_decay=ema_decay)
    steps = train(training, as_lesson(training, pairs))
    next(steps)
    name, weight = next(iter(training.weights.items()))
    monkeypatch.setattr(training.optimizer, "step", lambda: weight.data.fill_(float("inf")))
    with pytest.raises(FloatingPointError, match=f"step 2: the weight {name} is not finite"):
        next(steps)


def test_the_validation_loss_does_not_depend_on_the_training_seed(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    trainings = [start(base, seed=seed) for seed in (0, 1)]
    losses = {measure_validation_loss(t, as_lesson(t, pairs)) for t in trainings}
    assert len(losses) == 1


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_learning_rates_are_diffusers_own(name: str, warmup: int) -> None:
    params = build_finetune_params(lr_scheduler=name, lr_warmup_steps=warmup, max_train_steps=10)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=params.learning_rate)
    theirs = "constant_with_warmup" if name == "constant" else name
    lr_scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=10)
    for step in range(1, 11):
        expected = lr_scheduler.get_last_lr()[0]
        learning_rate = params.learning_rate * schedule_learning_rate(params, step)
        assert learning_rate == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        lr_scheduler.step()
