from typing import get_args

import pytest
import torch
from torch import nn

from stages.config.params import BaseParams, Method, UnetMethod
from stages.training.optimizer import (
    build_optimizer,
    pack_state,
    resolve_learning_rate,
    unpack_state,
)
from tests.unit.conftest import build_finetune_params

SHAPE = (64, 32, 3, 3)


def run(optimizer: str, num_steps: int = 50) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """A weight that is drawn to a fixed target by a noisy gradient."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(SHAPE, generator=generator)
    weight = nn.Parameter(torch.zeros(SHAPE).to(memory_format=torch.channels_last))
    built = build_optimizer([weight], build_finetune_params(optimizer=optimizer), 1e-2)
    for _ in range(num_steps):
        noise = torch.randn(SHAPE, generator=generator)
        weight.grad = torch.empty_like(weight).copy_(weight.detach() - target + noise)
        built.step()
    return weight, built


@pytest.mark.parametrize("method", get_args(Method))
def test_without_a_learning_rate_it_is_the_bases_own_for_method_and_data(
    base: BaseParams, method: Method
) -> None:
    on_subject = {name: 10.0**-place for place, name in enumerate(get_args(Method))}
    on_pairs = {name: 0.5 * on_subject[name] for name in get_args(UnetMethod)}
    rates = {"pairs": on_pairs, "subject": on_subject}
    base = BaseParams.model_validate(base.model_dump() | {"learning_rates": rates})
    for data, of_methods in rates.items():
        if method in of_methods:
            auto = build_finetune_params(method=method, data=data, learning_rate="auto")
            assert resolve_learning_rate(auto, base) == of_methods[method]
    given = build_finetune_params(method=method, learning_rate=0)
    assert resolve_learning_rate(given, base) == 0


def test_moments_of_8_bits_take_a_quarter_of_the_memory() -> None:
    sizes = {}
    for name in ("adamw", "adamw_8bit"):
        weight, optimizer = run(name, num_steps=1)
        state = pack_state(optimizer, weight)
        sizes[name] = sum(t.nbytes for key, t in state.items() if not key.startswith("qmap"))
    assert sizes["adamw_8bit"] < 0.27 * sizes["adamw"]


def test_moments_of_8_bits_take_nearly_the_same_way() -> None:
    exact, rounded = (run(name)[0].detach() for name in ("adamw", "adamw_8bit"))
    assert not torch.equal(exact, rounded)
    error = (rounded - exact).norm() / exact.norm()
    assert error < 0.05


def test_the_number_of_steps_returns_to_the_device_of_the_weight() -> None:
    """The fused step reads it there; device meta stands for a GPU."""
    weight, optimizer = run("adamw", num_steps=1)
    state, elsewhere = pack_state(optimizer, weight), nn.Parameter(weight.detach().to("meta"))
    unpack_state(optimizer, elsewhere, state)
    assert optimizer.state[elsewhere]["step"].device == elsewhere.device


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_every_setting_reaches_the_optimizer(name: str) -> None:
    params = build_finetune_params(
        optimizer=name, adam_beta1=0.8, adam_beta2=0.95, adam_weight_decay=0.1, adam_epsilon=1e-6
    )
    (group,) = build_optimizer([nn.Parameter(torch.ones(2))], params, 0.5).param_groups
    assert tuple(group["betas"]) == (0.8, 0.95)
    assert (group["lr"], group["weight_decay"], group["eps"]) == (0.5, 0.1, 1e-6)
