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


@pytest.fixture(params=["attn2", "full", "lora", "dora", "hydra_lora"])
def apply(request: pytest.FixtureRequest, base: BaseParams) -> Apply:
    """Put what a method would have trained into the base anew, at a strength."""
    lora = {"rank": 2, "alpha": 3, "targets": ["to_q", "ff.net.2"]}
    method = "lora" if request.param == "dora" else request.param
    params = build_finetune_params(method=method, lora=lora | {"use_dora": request.param == "dora"})
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


def test_another_base_is_refused(base: BaseParams) -> None:
    config = {"method": "attn2", "base": {"fingerprint": "another"}}
    with pytest.raises(UserError, match="trained on another base"):
        apply_finetuned(load_models(base), "this one", {}, config, base.model, 0.0)
