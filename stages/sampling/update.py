"""What training added to the weights, kept in full where the rest is in half precision.

A weight of 0.1 in fp16 has neighbours 6e-5 away: most of an update of 3e-5 would be rounded away,
with the weight or with a result that it is added to later. So a layer that was trained holds
float32: the base's weight W as the baseline has it, rounded, plus the update dW, which is not.
It computes in float32, too, and its result is rounded once. So does a layer with modules that the
base's has not: what they add to its result.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
"""Those of a U-Net that have weights."""


@torch.no_grad()
def cast_but_updates(unet: nn.Module, base: nn.Module, dtype: torch.dtype) -> None:
    """Cast `unet` to `dtype`, but for what it has more than the base.

    Layers that are the base's become what the baseline has, bit for bit.

    Args:
        unet: Float32; of the base's architecture, but for modules that were added to layers.
        base: Float32, as it was loaded; its layers may have fewer modules in them.
        dtype: Of all results, and of the weights that were not trained.
    """
    originals = dict(base.named_modules())
    for name, layer in unet.named_modules():
        if name not in originals:  # it is in a layer that is seen as trained
            continue
        own = dict(layer.named_parameters(recurse=False))
        frozen = dict(originals[name].named_parameters(recurse=False))
        is_trained = isinstance(layer, LAYERS) and any(layer.children())
        is_trained |= any(not torch.equal(weight, frozen[key]) for key, weight in own.items())
        for key, weight in own.items():
            rounded = frozen[key].to(dtype)
            weight.data = _apply(weight, frozen[key], rounded) if is_trained else rounded
        if is_trained:
            compute_in_float32(layer, dtype)


def compute_in_float32(layer: nn.Module, dtype: torch.dtype) -> None:
    """Let a layer of float32 weights take and give `dtype` and compute in float32, for good.

    `del layer.forward` undoes it.
    """
    assert isinstance(layer, LAYERS), f"{type(layer).__name__} is none of {LAYERS}"
    layer.forward = partial(_compute, layer.forward, dtype)  # type: ignore[method-assign]


def measure_update(unet: nn.Module, base: nn.Module, dtype: torch.dtype) -> dict[str, float]:
    """How large an update is, and how much of it is left in `dtype`; nothing if there is none.

    What is left is 1 minus the error of the update, in units of the update, both as root mean
    squares over all weights that have one; 0 where the error is larger.

    Returns:
        `update_rms`; `update_kept`, by `cast_but_updates`; `update_kept_if_rounded`, if weights
        were rounded instead.
    """
    size = count = 0.0
    errors = {"update_kept": 0.0, "update_kept_if_rounded": 0.0}
    for weight, frozen in zip(unet.parameters(), base.parameters(), strict=True):
        if torch.equal(weight, frozen):
            continue
        rounded, update = frozen.to(dtype), weight.double() - frozen.double()
        size, count = size + update.square().sum().item(), count + update.numel()
        ways = (_apply(weight, frozen, rounded), weight.to(dtype))
        for name, applied in zip(errors, ways, strict=True):
            errors[name] += (applied.double() - rounded.double() - update).square().sum().item()
    if not count:
        return {}
    kept = {name: max(0.0, 1 - math.sqrt(error / size)) for name, error in errors.items()}
    return {"update_rms": math.sqrt(size / count), **kept}


def _apply(weight: Tensor, frozen: Tensor, rounded: Tensor) -> Tensor:
    """The update on top of what the base was rounded to."""
    return rounded.float() + (weight - frozen)


def _compute(forward: Callable[[Tensor], Tensor], dtype: torch.dtype, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.to(dtype).float()).to(dtype)
