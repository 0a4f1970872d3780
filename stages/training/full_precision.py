"""A validation of what was trained, not of what mixed precision would round it to."""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from torch import nn

from stages.base.components import DTYPES
from stages.sampling.update import LAYERS, compute_in_float32


@contextmanager
def keep_trained_in_full(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Inside, trained layers compute in float32, as they do where pictures are sampled.

    Else autocast would round their weights. A training step leaves it to autocast: there float32
    would take memory and time, and no update is lost, as it is added to the float32 weight.
    """
    if accelerator.mixed_precision == "no":
        yield
        return
    layers = [layer for layer in model.modules() if _is_trained(layer)]
    for layer in layers:
        compute_in_float32(layer, DTYPES[accelerator.mixed_precision])
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _is_trained(layer: nn.Module) -> bool:
    own = layer.parameters(recurse=False)
    return isinstance(layer, LAYERS) and any(weight.requires_grad for weight in own)
