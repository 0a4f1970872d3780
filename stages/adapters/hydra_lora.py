"""Low-rank adapters of several experts (HydraLoRA, Tian et al. 2024) in the U-Net's linear layers.

Beside a target's frozen weight W stand one A, for all tokens, and N matrices B, the experts. A
router weighs these token by token (equation 2 and section 3.2.1): the layer computes

    W x + alpha / rank * sum_i w_i(x) B_i A x,    w(x) = softmax(R x).

What is added depends on x in more than a linear way, so it can't be merged into W.
"""

import copy
import json
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils import skip_init

from stages.adapters.lora import add_lora
from stages.base.identity import check_fit
from stages.config.mistakes import UserError
from stages.config.params import FinetuneParams

OTHER_STREAM = 2**32
"""Added to `finetune.seed`, so that routers are not drawn from the numbers that A is drawn from."""
EXPERTS = ".lora_B.weight"
"""How the name of the experts' matrix ends."""


class HydraLinear(nn.Linear):
    """A linear layer with its adapter; W and the bias are the same tensors as those of `linear`.

    At the start A is as LoRA's and B is zero, so nothing is added yet. Then all experts would get
    the same gradient, but for their weights w_i(x): the router is what tells them apart. From a
    router of zeros it could not learn to, as its own gradient is zero while experts are equal. So
    R is random as in the paper's code, as every linear layer is at first: uniform within
    1 / sqrt(in). With one expert the softmax is 1, and what is left is LoRA.

    Attributes:
        lora_A: A, (rank, in).
        lora_B: All B side by side, (out, N * rank), as the sum over experts is one product.
        lora_route: R, (N, in).
        softmax: Of the router; a module, so that it can be watched (sampling/experts.py).
        start: The router as it was before training, to be watched beside it; None in training.
    """

    def __init__(
        self,
        linear: nn.Linear,
        shared: nn.Linear,
        num_experts: int,
        alpha: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        rank = shared.out_features
        self.scale = alpha / rank
        self.lora_A = shared
        self.lora_B = skip_init(nn.Linear, num_experts * rank, self.out_features, bias=False)
        self.lora_route = skip_init(nn.Linear, self.in_features, num_experts, bias=False)
        self.softmax = nn.Softmax(dim=-1)
        self.start: nn.Module | None = None
        nn.init.zeros_(self.lora_B.weight)
        bound = self.in_features**-0.5
        nn.init.uniform_(self.lora_route.weight, -bound, bound, generator)

    def keep_start(self) -> None:
        """Keep the router as it is now."""
        self.start = copy.deepcopy(nn.Sequential(self.lora_route, self.softmax))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        inner = self.lora_A(x)[..., None, :]  # (..., 1, rank)
        weights = self.softmax(self.lora_route(x))[..., None]  # (..., N, 1)
        if self.start is not None:
            self.start(x)
        return super().forward(x) + self.lora_B((weights * inner).flatten(-2)) * self.scale


def add_hydra_lora(unet: UNet2DConditionModel, params: FinetuneParams) -> dict[str, nn.Linear]:
    """Put adapters that change no output yet where LoRA's would be, each with the A of LoRA's.

    Returns:
        The layers that they took the place of, by name.

    Raises:
        UserError: The name of no layer ends in one of the targets, or that of a convolution does.
    """
    add_lora(unet, params.lora, params.seed)
    adapted: Any = {n: m for n, m in unet.named_modules() if isinstance(m, LoraLayer)}
    shared = {name: layer.lora_A["default"] for name, layer in adapted.items()}
    unet.unload_lora()
    layers: dict[str, nn.Linear] = {}
    generator = torch.Generator().manual_seed(params.seed + OTHER_STREAM)
    num_experts, alpha = params.hydra_lora.num_experts, params.lora.alpha
    for name, a in shared.items():
        layer = unet.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise UserError(
                f"finetune.lora.targets: {name} is a convolution, which method hydra_lora can't "
                "adapt; name linear layers, or use lora"
            )
        layers[name] = layer
        unet.set_submodule(name, HydraLinear(layer, a, num_experts, alpha, generator))
    return layers


@torch.no_grad()
def apply_hydra_lora(
    unet: UNet2DConditionModel, weights: dict[str, Tensor], params: FinetuneParams
) -> None:
    """Put trained adapters into the base, where they stay beside its weights, to sample with.

    A layer whose experts are all zero remains the base's own: it computes the same bits.

    Raises:
        UserError: The adapters are not those of this U-Net and these params.
    """
    layers = add_hydra_lora(unet, params)
    state = unet.state_dict()
    check_fit(weights, state)
    for name, layer in layers.items():
        unet.get_submodule(name).keep_start()
        if not weights[f"{name}{EXPERTS}"].any():
            unet.set_submodule(name, layer)
    for name, weight in weights.items():
        state[name].copy_(weight)


def scale_experts(weights: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
    """The adapters at a strength: what they add is in proportion to B."""
    return {n: w * strength if n.endswith(EXPERTS) else w for n, w in weights.items()}


def describe_hydra_lora(params: FinetuneParams) -> dict[str, str]:
    """The metadata of the file: what its tensors do not say."""
    lora = params.lora
    values: dict[str, Any] = {"rank": lora.rank, "alpha": lora.alpha, "targets": lora.targets}
    return {"hydra_lora": json.dumps(values | params.hydra_lora.model_dump(), sort_keys=True)}
