import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stages.adapters.hydra_lora import HydraLinear
from stages.adapters.methods import choose_weights
from stages.base.components import load_unet
from stages.config.params import BaseParams
from stages.sampling.sampler import build_sampler, sample_pictures
from stages.sampling.update import cast_but_updates, measure_update
from tests.tiny import MAX_TOKENS, TEXT_WIDTH, build_unet
from tests.unit.adapters.test_methods import disturb
from tests.unit.conftest import build_base_params, build_finetune_params, build_sample_params

SMALL = 1e-4
"""Of a weight: an eightieth of what bf16 can tell apart."""


@torch.no_grad()
def train(unet: nn.Module, part: str, size: float) -> nn.Module:
    """Change the weights whose names hold `part` by a part of themselves, `size`."""
    generator = torch.Generator().manual_seed(1)
    for name, weight in unet.named_parameters():
        if part in name:
            weight.mul_(1 + size * torch.randn(weight.shape, generator=generator))
    return unet


@torch.no_grad()
def run(unet: nn.Module, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 16, 16, generator=generator).to(dtype)
    context = torch.randn(2, 5, TEXT_WIDTH, generator=generator).to(dtype)
    return unet(latents, 500, encoder_hidden_states=context).sample


def draw(base: BaseParams, unet: nn.Module) -> list[list[int]]:
    embeds = torch.randn(2, MAX_TOKENS, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))
    prompts = dict(zip(["", "a cat"], embeds, strict=True))
    sampler = build_sampler(base, build_sample_params(), unet, prompts)
    return sample_pictures(sampler, ["a cat"] * 3, [5, 6, 7]).images.tolist()


@pytest.mark.parametrize("part", ["attn2", "", "norm", "conv", "bias"])
def test_a_large_update_does_what_it_does_in_float32(part: str) -> None:
    base = build_unet().eval()
    trained = train(copy.deepcopy(base), part, 0.3)
    expected, before = run(trained, torch.float32), run(base, torch.float32)
    cast_but_updates(trained, base, torch.float16)
    found = run(trained, torch.float16)
    assert found.dtype == torch.float16
    assert (found - expected).norm() < 0.1 * (expected - before).norm()


def test_an_update_that_rounding_would_lose_can_be_read_back_from_the_results() -> None:
    generator = torch.Generator().manual_seed(3)
    base = nn.Sequential(nn.Linear(16, 16))
    trained = copy.deepcopy(base)
    update = SMALL * torch.randn(16, 16, generator=generator)
    trained[0].weight.data.add_(update)
    x = torch.randn(100_000, 16, generator=generator).bfloat16()
    cast_but_updates(trained, base, torch.bfloat16)
    with torch.no_grad():
        difference = trained(x).float() - base.bfloat16()(x).float()
    # Each result is rounded; over many of them that averages out, as rounded weights don't.
    found = torch.linalg.lstsq(x.float(), difference).solution.T
    assert (found - update).norm() / update.norm() < 0.1


def test_what_a_module_in_a_layer_adds_is_not_lost_either() -> None:
    generator = torch.Generator().manual_seed(3)
    base = nn.Sequential(nn.Linear(16, 16))
    # With one expert the router says 1, and what is added is linear.
    layer = HydraLinear(base[0], nn.Linear(16, 2, bias=False), num_experts=1, alpha=2)
    for weight in (layer.lora_A.weight, layer.lora_B.weight):
        weight.data = SMALL**0.5 * torch.randn(weight.shape, generator=generator)
    update = layer.lora_B.weight @ layer.lora_A.weight
    x = torch.randn(100_000, 16, generator=generator).bfloat16()
    trained = nn.Sequential(layer)
    base = copy.deepcopy(base)
    cast_but_updates(trained, base, torch.bfloat16)
    with torch.no_grad():
        difference = trained(x).float() - base.bfloat16()(x).float()
    found = torch.linalg.lstsq(x.float(), difference).solution.T
    assert (found - update).norm() / update.norm() < 0.1


def test_experts_do_in_half_precision_what_they_do_in_float32() -> None:
    base = build_unet().eval()
    trained = copy.deepcopy(base)
    disturb(choose_weights(trained, build_finetune_params(method="hydra_lora")))
    expected, before = run(trained, torch.float32), run(base, torch.float32)
    cast_but_updates(trained, base, torch.float16)
    found = run(trained, torch.float16)
    assert found.dtype == torch.float16
    assert (found - expected).norm() < 0.1 * (expected - before).norm()
    rounded = base.half().state_dict()
    for name, weight in trained.state_dict().items():
        assert name not in rounded or torch.equal(weight, rounded[name].to(weight.dtype)), name


def test_what_was_not_trained_is_as_the_baseline_has_it_bit_for_bit() -> None:
    base = build_unet().eval()
    trained = train(copy.deepcopy(base), "attn2.to_q", SMALL)
    cast_but_updates(trained, base, torch.bfloat16)
    rounded = copy.deepcopy(base).bfloat16().state_dict()
    for name, weight in trained.state_dict().items():
        is_trained = "attn2.to_q" in name
        assert torch.equal(weight, rounded[name]) != is_trained, name
        assert weight.dtype == (torch.float32 if is_trained else torch.bfloat16)


def test_nothing_trained_changes_no_bit_of_a_picture(base_folder: Path) -> None:
    base = build_base_params(base_folder, precision="bf16")
    rounded = build_base_params(base_folder)  # fp32, in which nothing is cast
    assert draw(base, load_unet(base)) == draw(rounded, load_unet(base).bfloat16())


@pytest.mark.parametrize("part", ["attn2", ""])
def test_pictures_show_an_update_that_half_precision_would_round_away(
    base_folder: Path, part: str
) -> None:
    base = build_base_params(base_folder, precision="bf16")
    start, trained = load_unet(base), train(load_unet(base), part, SMALL)
    for weight, frozen in zip(trained.parameters(), start.parameters(), strict=True):
        is_lost = weight.bfloat16() == frozen.bfloat16()
        weight.data = torch.where(is_lost, weight, frozen)
    assert draw(base, trained) != draw(base, start)


def test_what_is_left_of_an_update_is_measured() -> None:
    base = nn.Linear(1, 2, bias=False)
    base.weight.data = torch.tensor([[1.0], [1.0]])
    trained = copy.deepcopy(base)
    # bf16's next number after 1 is 1 + 2^-7: the first stays 1, the second becomes 1 + 2^-6.
    trained.weight.data += torch.tensor([[3 * 2**-10], [3 * 2**-8]])
    size = (3 * 2**-10) ** 2 + (3 * 2**-8) ** 2
    error = (3 * 2**-10) ** 2 + (2**-6 - 3 * 2**-8) ** 2
    assert measure_update(trained, base, torch.bfloat16) == pytest.approx(
        {
            "update_rms": (size / 2) ** 0.5,
            "update_kept": 1,
            "update_kept_if_rounded": 1 - (error / size) ** 0.5,
        }
    )
    assert measure_update(base, base, torch.bfloat16) == {}
    # From just below the middle of 1 and its neighbour to just above: all of 2^-7, where 2^-13 was.
    base.weight.data.fill_(1 + 2**-8 - 2**-14)
    trained.weight.data.fill_(1 + 2**-8 + 2**-14)
    assert measure_update(trained, base, torch.bfloat16)["update_kept_if_rounded"] == 0
