import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.adapters.hydra_lora import HydraLinear, add_hydra_lora, apply_hydra_lora
from stages.adapters.methods import choose_weights, copy_weights
from stages.base.components import load_unet
from stages.config.params import BaseParams, FinetuneParams
from stages.sampling.experts import average_experts, note_experts, watch_routers
from stages.sampling.sampler import Sampler, build_sampler, sample_pictures
from tests.tiny import MAX_TOKENS, TEXT_WIDTH
from tests.unit.adapters.test_methods import disturb
from tests.unit.conftest import build_finetune_params, build_sample_params

PROMPTS = ["", "a cat", "a dog"]
LAYERS = (".attn1.to_q", ".attn2.to_k")


class Routed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleDict({"softmax": nn.Softmax(dim=-1)})

    def forward(self, scores: Tensor) -> Tensor:
        return self.layer["softmax"](scores)


def test_a_picture_has_the_mean_over_its_tokens_and_steps_of_the_half_with_its_prompt() -> None:
    model = Routed()
    watch_routers(model)
    generator = torch.Generator().manual_seed(0)
    steps = [torch.randn(4, 6, 3, generator=generator) for _ in range(5)]  # (2 B, L, N)
    with note_experts() as noted:
        for scores in steps:
            model(scores)
    model(steps[0])  # which nobody notes
    for picture, found in enumerate(average_experts(noted, batch_size=2)):
        tokens = torch.cat([scores[2 + picture] for scores in steps]).double().exp()
        expected = (tokens / tokens.sum(1, keepdim=True)).mean(0)
        np.testing.assert_allclose(found["layer"], expected, rtol=1e-6)


def test_without_routers_there_is_nothing_of_any_picture() -> None:
    assert average_experts({}, 3) == [{}, {}, {}]


def test_what_is_noted_of_a_picture_does_not_depend_on_the_batch_that_it_is_in(
    base: BaseParams,
) -> None:
    sampler = build(base)
    together = sample_pictures(sampler, PROMPTS[1:], [5, 6]).experts
    for place, seed in enumerate((5, 6)):
        (alone,) = sample_pictures(sampler, [PROMPTS[1 + place]], [seed]).experts
        assert list(alone) == list(together[place])
        for layer, weights in alone.items():
            assert weights.sum() == pytest.approx(1, abs=1e-6)
            np.testing.assert_allclose(weights, together[place][layer], atol=1e-5)


def test_layers_that_see_the_picture_tell_noise_apart_and_those_of_the_prompt_do_not(
    base: BaseParams,
) -> None:
    """Keys and values of cross-attention are projected once: they still count as each step."""
    one, other = sample_pictures(build(base), ["a cat"] * 2, [5, 6]).experts
    names = {layer.removesuffix(".start") for layer in one}
    assert {name[name.index(".attn") :] for name in names} == set(LAYERS)
    for layer, weights in one.items():
        is_same = np.allclose(weights, other[layer], atol=1e-6)
        assert is_same == (".attn2.to_k" in layer), layer


def test_routers_are_noted_beside_what_they_were_at_the_start(base: BaseParams) -> None:
    (found,) = sample_pictures(build(base), ["a cat"], [5]).experts
    layers = [layer for layer in found if not layer.endswith(".start")]
    assert len(found) == 2 * len(layers) > 0
    unet = load_unet(base)
    add_hydra_lora(unet, build_params())
    for module in unet.modules():
        if isinstance(module, HydraLinear):
            nn.init.ones_(module.lora_B.weight)
    untrained = {n: p for n, p in unet.named_parameters() if "lora_" in n}
    (same,) = sample_pictures(build(base, untrained), ["a cat"], [5]).experts
    for layer in layers:
        assert not np.allclose(found[layer], found[f"{layer}.start"], atol=1e-3)
        np.testing.assert_array_equal(same[layer], same[f"{layer}.start"])


def test_noting_changes_no_picture(base: BaseParams, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = sample_pictures(build(base), PROMPTS[1:], [5, 6])
    monkeypatch.setattr("stages.sampling.sampler.watch_routers", lambda _: None)
    plain = sample_pictures(build(base), PROMPTS[1:], [5, 6])
    assert any(noted.experts)
    assert not any(plain.experts)
    assert (noted.images == plain.images).all()


def build_params() -> FinetuneParams:
    """Experts in two kinds of layers."""
    lora = build_finetune_params().lora.model_dump()
    targets = [layer.removeprefix(".") for layer in LAYERS]
    return build_finetune_params(method="hydra_lora", lora=lora | {"targets": targets})


def build(base: BaseParams, weights: dict[str, nn.Parameter] | None = None) -> Sampler:
    """A sampler of a U-Net with these adapters, or with disturbed ones."""
    if weights is None:
        weights = choose_weights(load_unet(base), build_params())
        disturb(weights)
    unet = load_unet(base)
    apply_hydra_lora(unet, copy_weights(weights), build_params())
    embeds = torch.randn(3, MAX_TOKENS, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))
    return build_sampler(base, build_sample_params(), unet, dict(zip(PROMPTS, embeds, strict=True)))
