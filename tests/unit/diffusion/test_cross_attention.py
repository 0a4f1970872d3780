import pytest
import torch
from torch import Tensor

from stages.config.params import BaseParams
from stages.diffusion.components import load_unet
from stages.diffusion.cross_attention import (
    apply_weights,
    check_fingerprint,
    check_movement,
    choose_weights,
    extract_weights,
    fingerprint_weights,
)
from tests.tiny import build_unet, build_vae


def test_exactly_attn2_is_trainable(base: BaseParams) -> None:
    unet = load_unet(base)
    chosen = choose_weights(unet, "attn2")
    trainable = {name for name, p in unet.named_parameters() if p.requires_grad}
    assert set(chosen) == trainable == {n for n in unet.state_dict() if ".attn2." in n}
    assert len(chosen) % 5 == 0  # to_q, to_k, to_v, and to_out with its bias


def test_what_is_trained_is_float32_over_a_half_precision_base(base: BaseParams) -> None:
    chosen = choose_weights(load_unet(base).half(), "attn2")
    assert {weight.dtype for weight in chosen.values()} == {torch.float32}


def test_a_model_without_cross_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="no attn2 weights"):
        choose_weights(build_vae(), "attn2")


def test_saved_weights_suffice(base: BaseParams) -> None:
    trained, fresh = load_unet(base), load_unet(base)
    chosen = choose_weights(trained, "attn2")
    with torch.no_grad():
        for weight in chosen.values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
    before = run_unet(fresh)
    apply_weights(fresh, extract_weights(chosen))
    assert torch.equal(run_unet(fresh), run_unet(trained))
    assert not torch.equal(run_unet(fresh), before)


def test_foreign_keys_are_refused_before_anything_is_written(base: BaseParams) -> None:
    unet = load_unet(base)
    weights = {n: w + 1 for n, w in extract_weights(choose_weights(unet, "attn2")).items()}
    before = fingerprint_weights(unet)
    with pytest.raises(ValueError, match=r"no weight down\.attn2\.to_q"):
        apply_weights(unet, weights | {"down.attn2.to_q": torch.zeros(1)})
    assert fingerprint_weights(unet) == before


def test_a_foreign_shape_is_refused(base: BaseParams) -> None:
    unet = load_unet(base)
    name = next(iter(choose_weights(unet, "attn2")))
    with pytest.raises(ValueError, match="train again"):
        apply_weights(unet, {name: torch.zeros(1, 2)})


def test_one_changed_value_changes_the_fingerprint(base: BaseParams) -> None:
    unet = load_unet(base)
    before = fingerprint_weights(unet)
    assert fingerprint_weights(load_unet(base)) == before
    with torch.no_grad():
        unet.conv_in.weight[0, 0, 0, 0] += 1e-3
    assert fingerprint_weights(unet) != before


def test_another_base_is_refused() -> None:
    with pytest.raises(ValueError, match="another base than models/other"):
        check_fingerprint("a" * 64, "b" * 64, "models/other")


def test_weights_that_did_not_move_are_an_error() -> None:
    weights = extract_weights(choose_weights(build_unet(), "attn2"))
    with pytest.raises(ValueError, match="none of the 20 trained tensors moved"):
        check_movement(weights, {name: weight.clone() for name, weight in weights.items()})


def run_unet(unet: torch.nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    context = torch.randn(1, 5, 16, generator=generator)
    with torch.inference_mode():
        return unet(latents, 10, encoder_hidden_states=context).sample
