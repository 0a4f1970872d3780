"""AdamW (Loshchilov and Hutter 2019), its moments in 32 or in 8 bits, and its state as tensors."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from stages.config.params import BaseParams, FinetuneParams
from stages.training.sharding import shard_like


def resolve_learning_rate(params: FinetuneParams, base: BaseParams) -> float:
    """The rate to train with: the one given, or else the base's own for the method and data."""
    if params.learning_rate is None:
        return getattr(getattr(base.learning_rates, params.data), params.method)
    return params.learning_rate


def build_optimizer(
    weights: Iterable[nn.Parameter], params: FinetuneParams, learning_rate: float
) -> torch.optim.Optimizer:
    """AdamW over the weights.

    `adamw_8bit` keeps its two moments in blocks of 256 values, each with a scale of its own
    (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"). Tensors of fewer than
    4,096 values stay in 32 bits.
    """
    settings: dict[str, Any] = {
        "lr": learning_rate,
        "betas": (params.adam_beta1, params.adam_beta2),
        "weight_decay": params.adam_weight_decay,
        "eps": params.adam_epsilon,
    }
    if params.optimizer == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit  # noqa: PLC0415 - slow, and seldom asked for

        weights = list(weights)
        for weight in weights:  # as its first step would: a resumed run must start like that, too
            weight.data = weight.data.contiguous()
        return AdamW8bit(weights, **settings)
    return torch.optim.AdamW(weights, **settings, fused=True)


def pack_state(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> dict[str, Tensor]:
    """All that the optimizer keeps of a weight; at least one step has been taken."""
    state = {key: torch.as_tensor(value) for key, value in optimizer.state[weight].items()}
    # Weights share the table of what 8 bits stand for, and safetensors takes nothing shared.
    return {key: v if v.shape == weight.shape else v.clone() for key, v in state.items()}


def unpack_state(
    optimizer: torch.optim.Optimizer, weight: nn.Parameter, tensors: dict[str, Tensor]
) -> None:
    """Put the packed state of a weight back."""
    optimizer.state[weight] = {key: _place(value, weight) for key, value in tensors.items()}


def _place(value: Tensor, weight: nn.Parameter) -> Tensor | int:
    """A value as the optimizer keeps it: where, and in which memory format.

    Moments take the weight's own memory format, channels last for a convolution: values are paired
    by their place in memory.
    """
    if value.ndim == 0:  # steps: beside the weight for torch's fused step, a number for the other
        return value.to(weight.device, copy=True) if value.is_floating_point() else int(value)
    if value.shape == weight.shape:
        return torch.empty_like(weight, dtype=value.dtype).copy_(shard_like(value, weight))
    return value.to(weight.device, copy=True)
