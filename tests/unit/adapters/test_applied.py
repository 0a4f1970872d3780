from collections.abc import Callable

import pytest
import torch

from stages.adapters.applied import apply_finetuned
from stages.adapters.methods import choose_weights, extract_weights
from stages.base.components import Models, load_models, load_unet
from stages.base.identity import fingerprint_weights
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from tests.unit.adapters.test_methods import disturb
from tests.unit.conftest import build_finetune_params

Apply = Callable[[float], Models]


@pytest.fixture(params=["attn2", "full", "lora", "dora"])
def apply(request: pytest.FixtureRequest, base: BaseParams) -> Apply:
    """Put what a method would have trained into the base anew, at a strength."""
    return build_apply(base, request.param)


def build_apply(base: BaseParams, kind: str) -> Apply:
    lora = {"rank": 2, "alpha": 3, "targets": ["to_q", "ff.net.2"]}
    method = "lora" if kind == "dora" else kind
    params = build_finetune_params(method=method, lora=lora | {"use_dora": kind == "dora"})
    unet = load_unet(base)
    fingerprint = fingerprint_weights(unet)
    chosen = choose_weights(unet, params)
    disturb(chosen)
    weights = extract_weights(unet, chosen, method)
    config = {
        "method": method,
        "base": {"fingerprint": fingerprint},
        "finetune": params.model_dump(),
    }

    def put(strength: float) -> Models:
        models = load_models(base)
        found = apply_finetuned(models, fingerprint, weights, config, base.model, strength)
        assert found == []
        return models

    return put


def test_strength_0_changes_no_bit(apply: Apply, base: BaseParams) -> None:
    assert fingerprint_weights(apply(0.0).unet) == fingerprint_weights(load_unet(base))


@pytest.mark.parametrize("strength", [0.25, 1.5, -1.0])
def test_what_is_added_grows_with_strength(apply: Apply, base: BaseParams, strength: float) -> None:
    before = load_unet(base).state_dict()
    whole, part = (apply(s).unet.state_dict() for s in (1.0, strength))
    assert list(whole) == list(part) == list(before)
    for name, weight in before.items():
        expected = strength * (whole[name] - weight)
        torch.testing.assert_close(part[name] - weight, expected, atol=1e-5, rtol=1e-4)
    assert max((whole[name] - before[name]).abs().max() for name in before) > 0.1


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, 1.5, -1.0])
def test_what_experts_add_to_a_layer_grows_with_strength(base: BaseParams, strength: float) -> None:
    apply = build_apply(base, "hydra_lora")
    place = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    unets = [load_unet(base), apply(1.0).unet, apply(strength).unet]
    with torch.no_grad():
        before, whole, part = (unet.get_submodule(place)(x) for unet in unets)
    torch.testing.assert_close(part - before, strength * (whole - before), atol=1e-6, rtol=1e-5)
    assert (whole - before).abs().max() > 0.1
    is_base = fingerprint_weights(unets[2]) == fingerprint_weights(unets[0])
    assert is_base == (strength == 0)


def test_another_base_is_refused(base: BaseParams) -> None:
    config = {"method": "attn2", "base": {"fingerprint": "another"}}
    with pytest.raises(UserError, match="trained on another base"):
        apply_finetuned(load_models(base), "this one", {}, config, base.model, 0.0)
