from typing import get_args

import pytest
import torch
from torch import Tensor

from stages.adapters.methods import (
    TRAINED,
    apply_weights,
    check_movement,
    choose_weights,
    copy_weights,
    extract_weights,
)
from stages.base.components import load_unet
from stages.base.identity import fingerprint_weights
from stages.config.mistakes import UserError
from stages.config.params import BaseParams, UnetMethod
from tests import stable_diffusion
from tests.tiny import build_unet, build_vae
from tests.unit.conftest import build_finetune_params

METHODS = get_args(UnetMethod)


def test_each_method_of_the_params_is_there() -> None:
    assert set(TRAINED) == set(METHODS)


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("attn2", [".attn2."]),
        ("attn2_kv", [".attn2.to_k.", ".attn2.to_v."]),
        ("full", [""]),
    ],
)
def test_exactly_the_methods_weights_are_trainable(
    base: BaseParams, method: str, parts: list[str]
) -> None:
    unet = load_unet(base)
    chosen = choose_weights(unet, build_finetune_params(method=method))
    trainable = {name for name, p in unet.named_parameters() if p.requires_grad}
    expected = {name for name in unet.state_dict() if any(part in name for part in parts)}
    assert set(chosen) == trainable == expected


@pytest.mark.parametrize(
    ("method", "num_parameters", "num_tensors"),
    [
        ("attn2", 43_962_560, 80),
        ("attn2_kv", 19_169_280, 32),
        ("full", 859_520_964, 686),
        ("hydra_lora", 1_894_272, 384),  # 4 * (99,456 + 3 * 99,840) + 3 * 99,456
        ("lora", 797_184, 256),  # as diffusers' documentation of its LoRA script has it for rank 4
    ],
)
def test_counts_are_those_of_stable_diffusion_1_5(
    method: str, num_parameters: int, num_tensors: int
) -> None:
    lora = {"rank": 4, "alpha": 4, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}
    params = build_finetune_params(method=method, lora=lora | {"use_dora": False})
    with torch.device("meta"):
        unet = stable_diffusion.build_unet()
    chosen = choose_weights(unet, params)
    assert sum(weight.numel() for weight in chosen.values()) == num_parameters
    assert len(chosen) == num_tensors


@pytest.mark.parametrize("method", METHODS)
def test_what_is_trained_is_float32_over_a_half_precision_base(
    base: BaseParams, method: str
) -> None:
    chosen = choose_weights(load_unet(base).half(), build_finetune_params(method=method))
    assert {weight.dtype for weight in chosen.values()} == {torch.float32}


def test_a_model_without_cross_attention_is_refused() -> None:
    with pytest.raises(UserError, match="method attn2: the base has no such weights"):
        choose_weights(build_vae(), build_finetune_params())


@pytest.mark.parametrize("method", ["attn2", "attn2_kv", "full"])
def test_saved_weights_suffice(base: BaseParams, method: str) -> None:
    params = build_finetune_params(method=method)
    trained, fresh = load_unet(base), load_unet(base)
    chosen = choose_weights(trained, params)
    disturb(chosen)
    before = run_unet(fresh)
    apply_weights(fresh, extract_weights(trained, chosen, method), params)
    assert torch.equal(run_unet(fresh), run_unet(trained))
    assert not torch.equal(run_unet(fresh), before)


@pytest.mark.parametrize("use_dora", [False, True])
def test_saved_adapters_suffice_and_leave_the_bases_architecture(
    base: BaseParams, use_dora: bool
) -> None:
    lora = {"rank": 2, "alpha": 3, "targets": ["to_k", "ff.net.2"], "use_dora": use_dora}
    params = build_finetune_params(method="lora", lora=lora)
    trained, fresh = load_unet(base), load_unet(base)
    chosen = choose_weights(trained, params)
    disturb(chosen)
    names, before = list(fresh.state_dict()), run_unet(fresh)
    apply_weights(fresh, extract_weights(trained, chosen, "lora"), params)
    # To rounding: W + B A is one product, W x + B (A x) are three.
    torch.testing.assert_close(run_unet(fresh), run_unet(trained), rtol=1e-4, atol=1e-5)
    assert (run_unet(fresh) - before).abs().max() > 1e-2
    assert list(fresh.state_dict()) == names


@pytest.mark.parametrize("method", METHODS)
def test_foreign_keys_are_refused(base: BaseParams, method: str) -> None:
    unet, params = load_unet(base), build_finetune_params(method=method)
    with pytest.raises(UserError, match=r"no weight down\.attn2\.to_q"):
        apply_weights(unet, {"down.attn2.to_q": torch.zeros(1)}, params)


def test_nothing_is_written_when_a_key_is_foreign(base: BaseParams) -> None:
    unet, params = load_unet(base), build_finetune_params()
    weights = {n: w + 1 for n, w in copy_weights(choose_weights(unet, params)).items()}
    before = fingerprint_weights(unet)
    with pytest.raises(UserError, match="no weight down"):
        apply_weights(unet, weights | {"down.attn2.to_q": torch.zeros(1)}, params)
    assert fingerprint_weights(unet) == before


def test_weights_that_did_not_move_are_an_error() -> None:
    weights = copy_weights(choose_weights(build_unet(), build_finetune_params()))
    with pytest.raises(UserError, match="none of the 20 trained tensors moved"):
        check_movement(weights, {name: weight.clone() for name, weight in weights.items()})


@torch.no_grad()
def disturb(weights: dict[str, torch.nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(3)
    for weight in weights.values():
        weight.add_(0.3 * torch.randn(weight.shape, generator=generator))


def run_unet(unet: torch.nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    context = torch.randn(1, 5, 16, generator=generator)
    with torch.inference_mode():
        return unet(latents, 10, encoder_hidden_states=context).sample
