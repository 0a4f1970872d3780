import json

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from stages.adapters.hydra_lora import (
    HydraLinear,
    add_hydra_lora,
    apply_hydra_lora,
    describe_hydra_lora,
)
from stages.adapters.lora import add_lora
from stages.adapters.methods import choose_weights, copy_weights
from stages.base.components import load_unet
from stages.config.mistakes import UserError
from stages.config.params import BaseParams, FinetuneParams
from stages.files.tensors import write_finetuned
from stages.training.batches import EncodedPairs
from stages.training.train import Training, build_training, train
from tests.unit.adapters.test_methods import disturb, run_unet
from tests.unit.conftest import as_lesson, build_finetune_params

PARAMS = build_finetune_params(method="hydra_lora")  # three experts of rank 2, alpha 3
NUM_EXPERTS, RANK = 3, 2


def build_layer(num_experts: int = NUM_EXPERTS) -> HydraLinear:
    """A disturbed layer of 5 to 4, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear, shared = nn.Linear(5, 4), nn.Linear(5, RANK, bias=False)
    layer = HydraLinear(linear, shared, num_experts, alpha=3)
    disturb(dict(layer.named_parameters()))
    return layer.double()


def draw_tokens() -> Tensor:
    return torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_each_token_gets_the_sum_over_experts_that_the_paper_has() -> None:
    layer, x = build_layer(), draw_tokens()
    found = layer(x)
    a, experts = layer.lora_A.weight, layer.lora_B.weight.split(RANK, dim=1)
    for picture, token in ((0, 0), (1, 2)):
        one = x[picture, token]
        scores = (layer.lora_route.weight @ one).exp()
        expected = layer.weight @ one + layer.bias
        for score, b in zip(scores, experts, strict=True):
            expected = expected + 3 / RANK * score / scores.sum() * (b @ (a @ one))
        torch.testing.assert_close(found[picture, token], expected)


def test_gradients_agree_with_finite_differences() -> None:
    layer, x = build_layer(), draw_tokens().requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert names == ["weight", "bias", *(f"lora_{n}.weight" for n in ("A", "B", "route"))]
    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


def test_the_routers_weights_of_each_token_sum_to_1(base: BaseParams) -> None:
    unet = load_unet(base)
    disturb(choose_weights(unet, PARAMS))
    seen: list[Tensor] = []
    for module in unet.modules():
        if isinstance(module, nn.Softmax):
            module.register_forward_hook(lambda _, __, weights: seen.append(weights))
    run_unet(unet)
    assert len(seen) == sum(isinstance(module, HydraLinear) for module in unet.modules()) > 0
    assert {weights.shape[-1] for weights in seen} == {NUM_EXPERTS}
    for weights in seen:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert any(weights.max() > 0.5 for weights in seen)


def test_new_adapters_change_no_bit_and_start_with_the_a_of_loras(base: BaseParams) -> None:
    unet, lora = load_unet(base), load_unet(base)
    before, state = run_unet(unet), torch.get_rng_state()
    chosen = choose_weights(unet, PARAMS)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(run_unet(unet), before)
    add_lora(lora, PARAMS.lora, PARAMS.seed)
    theirs = {n.replace(".default", ""): w for n, w in lora.named_parameters() if "lora_A" in n}
    ours = {name: weight for name, weight in chosen.items() if "lora_A" in name}
    assert list(ours) == list(theirs)
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_routers_start_at_random_by_the_seed_within_the_bounds_of_a_linear_layer(
    base: BaseParams,
) -> None:
    starts = []
    for seed in (0, 0, 1):
        unet = load_unet(base)
        add_hydra_lora(unet, PARAMS.model_copy(update={"seed": seed}))
        routers = [m.lora_route.weight for m in unet.modules() if isinstance(m, HydraLinear)]
        assert all(w.abs().max() <= w.shape[1] ** -0.5 for w in routers)
        starts.append(torch.cat([weight.flatten() for weight in routers]))
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert starts[0].unique().numel() > 0.99 * starts[0].numel()


def test_one_expert_is_lora_after_three_steps(base: BaseParams, pairs: EncodedPairs) -> None:
    hydra, lora = (
        train_three_steps(base, pairs, method=method, hydra_lora={"num_experts": 1})
        for method in ("hydra_lora", "lora")
    )
    expected = {name.replace(".default", ""): w for name, w in lora.weights.items()}
    for name, weight in hydra.weights.items():
        if "lora_route" not in name:
            torch.testing.assert_close(weight, expected.pop(name), rtol=0, atol=1e-6)
    assert not expected
    pictures = [run_unet(training.model) for training in (hydra, lora)]
    torch.testing.assert_close(*pictures, rtol=0, atol=1e-6)
    assert (pictures[0] - run_unet(load_unet(base))).abs().max() > 1e-3


def test_experts_part_as_their_routers_start_at_random(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    experts = list_experts(train_three_steps(base, pairs, method="hydra_lora"))
    parts = torch.tensor(
        [((one - other).norm() / one.norm()) for one, *others in experts for other in others]
    )
    assert parts.min() > 1e-3
    assert parts.median() > 0.2


def test_with_routers_of_zeros_experts_would_stay_equal_forever(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    # A large epsilon: else Adam takes the sign of gradients that are rounding alone.
    changes = {"method": "hydra_lora", "adam_epsilon": 1e-3}
    training = train_three_steps(base, pairs, router_scale=0, **changes)
    for one, *others in list_experts(training):
        assert one.abs().max() > 1e-3
        for other in others:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_convolution_among_the_targets_is_refused(base: BaseParams) -> None:
    params = change_lora(targets=("to_q", "conv1"))
    with pytest.raises(UserError, match=r"lora\.targets: \S+conv1 is a convolution, .* use lora"):
        add_hydra_lora(load_unet(base), params)


def test_a_target_that_the_base_lacks_is_named(base: BaseParams) -> None:
    with pytest.raises(UserError, match=r"finetune\.lora\.targets: found to_x"):
        add_hydra_lora(load_unet(base), change_lora(targets=("to_x",)))


def test_saved_adapters_suffice_to_the_bit(base: BaseParams) -> None:
    trained, fresh = load_unet(base), load_unet(base)
    chosen = choose_weights(trained, PARAMS)
    disturb(chosen)
    before = run_unet(fresh)
    # Another seed: nothing of its start may be left.
    apply_hydra_lora(fresh, copy_weights(chosen), PARAMS.model_copy(update={"seed": 5}))
    assert torch.equal(run_unet(fresh), run_unet(trained))
    assert (run_unet(fresh) - before).abs().max() > 1e-2


def test_a_layer_whose_experts_are_zero_stays_the_bases_own(base: BaseParams) -> None:
    unet, trained = load_unet(base), load_unet(base)
    names = list(unet.state_dict())
    weights = copy_weights(choose_weights(trained, PARAMS))
    apply_hydra_lora(unet, weights, PARAMS)
    assert list(unet.state_dict()) == names
    last = [name for name in weights if name.endswith("lora_B.weight")][-1]
    weights[last] += 1
    apply_hydra_lora(unet, weights, PARAMS)
    adapted = [name for name, m in unet.named_modules() if isinstance(m, HydraLinear)]
    assert adapted == [last.removesuffix(".lora_B.weight")]


def test_the_file_says_what_its_tensors_do_not(base: BaseParams, tmp_path) -> None:
    weights = copy_weights(choose_weights(load_unet(base), PARAMS))
    write_finetuned(tmp_path, weights, {"method": "hydra_lora"}, describe_hydra_lora(PARAMS))
    with safe_open(tmp_path / "hydra_lora.safetensors", "pt") as file:
        (values,) = (json.loads(text) for text in file.metadata().values())
        assert set(file.keys()) == set(weights)
    assert values == {
        "alpha": 3,
        "num_experts": NUM_EXPERTS,
        "rank": RANK,
        "targets": ["to_q", "to_k", "to_v", "to_out.0"],
    }


def change_lora(**changes: object) -> FinetuneParams:
    return PARAMS.model_copy(update={"lora": PARAMS.lora.model_copy(update=changes)})


def train_three_steps(
    base: BaseParams, pairs: EncodedPairs, router_scale: float = 1, **changes: object
) -> Training:
    params = build_finetune_params(max_train_steps=3, lr_scheduler="constant", **changes)
    unet = load_unet(base)
    weights = choose_weights(unet, params)
    for name, weight in weights.items():
        weight.data *= router_scale if "lora_route" in name else 1
    training = build_training(unet, weights, params, params.learning_rate, "fp32")
    list(train(training, as_lesson(training, pairs)))
    return training


def list_experts(training: Training) -> list[tuple[Tensor, ...]]:
    """The matrices B of each layer."""
    named = training.weights.items()
    return [weight.detach().split(RANK, dim=1) for name, weight in named if "lora_B" in name]
