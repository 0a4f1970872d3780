"""To which experts a picture's tokens go, where the U-Net has routers (adapters/hydra_lora.py).

A router ends in a softmax that is a module, which no other layer of a U-Net has. Its weights are
added up where they are computed, and read once a batch: a GPU is not waited for in between. The
router of a layer has its name, and what that was before training the name with `.start`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

Noted = dict[str, tuple[Tensor, int]]
"""Of each layer the sum of its weights, (B, N), and how often it was called."""
_NOTED: ContextVar[Noted | None] = ContextVar("noted", default=None)
"""Of the batch that this thread samples."""


def watch_routers(unet: nn.Module) -> None:
    """Let each router of a U-Net note its weights inside of `note_experts`."""
    for name, module in unet.named_modules():
        if isinstance(module, nn.Softmax):
            module.register_forward_hook(partial(_note, name.rpartition(".")[0]))


@contextmanager
def note_experts() -> Iterator[Noted]:
    """Inside, in this thread, what is called of the routers is noted."""
    noted: Noted = {}
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def average_experts(noted: Noted, batch_size: int) -> list[dict[str, np.ndarray]]:
    """The mean weight of each expert over a picture's tokens and timesteps.

    Args:
        noted: Of a batch. Under guidance its first half is of the unconditional one, and left out.
        batch_size: B.

    Returns:
        For each of B pictures, by layer, (N,) that sum to 1; empty where there are no routers.
    """
    if not noted:
        return [{} for _ in range(batch_size)]
    # Layers have as many experts each, so that one copy brings them all.
    means = torch.stack([total[-batch_size:] / count for total, count in noted.values()], dim=1)
    return [dict(zip(noted, layers, strict=True)) for layers in means.float().cpu().numpy()]


def _note(layer: str, _: nn.Module, __: object, weights: Tensor) -> None:
    """Add the weights of one call, (B, ..., N), averaged over tokens."""
    noted = _NOTED.get()
    if noted is not None:
        mean = weights.detach().reshape(len(weights), -1, weights.shape[-1]).mean(dim=1)
        total, count = noted.get(layer, (None, 0))
        noted[layer] = (mean if total is None else total + mean, count + 1)
