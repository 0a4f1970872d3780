"""Which weights are trained: choose, freeze, extract, apply; and the identity of a base.

A checkpoint holds the trained weights alone, under the names of the U-Net's own state dict.
"""

import hashlib

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

TRAINED_MODULES = {"attn2": "attn2"}
"""Per `finetune.method`: the module whose parameters train; attn2 is the cross-attention."""


def choose_weights(unet: UNet2DConditionModel, method: str) -> dict[str, nn.Parameter]:
    """Make the method's weights trainable, as float32, and freeze all others.

    Returns:
        The chosen parameters by name, in the order of the state dict.

    Raises:
        ValueError: The U-Net has none.
    """
    unet.requires_grad_(False)
    module = TRAINED_MODULES[method]
    chosen = {n: p for n, p in unet.named_parameters() if module in n.split(".")}
    if not chosen:
        raise ValueError(f"finetune.method {method}: the base's U-Net has no {module} weights")
    for parameter in chosen.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return chosen


def extract_weights(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Copies of the weights on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def check_movement(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Refuse a training that changed nothing.

    Raises:
        ValueError: All weights are equal, bit for bit.
    """
    if all(torch.equal(before[name], weight) for name, weight in after.items()):
        raise ValueError(
            f"none of the {len(after)} trained tensors moved; raise finetune.learning_rate"
        )


@torch.no_grad()
def apply_weights(unet: UNet2DConditionModel, weights: dict[str, Tensor]) -> None:
    """Write trained weights over the base's.

    Raises:
        ValueError: A name or a shape that the U-Net does not have.
    """
    state = unet.state_dict()
    for name, weight in weights.items():
        if name not in state:
            raise ValueError(f"the base's U-Net has no weight {name}; train again for this base")
        if state[name].shape != weight.shape:
            raise ValueError(
                f"{name} is {tuple(weight.shape)}, but {tuple(state[name].shape)} in the base's "
                "U-Net; train again for this base"
            )
    for name, weight in weights.items():
        state[name].copy_(weight)


def fingerprint_weights(unet: UNet2DConditionModel) -> str:
    """SHA-256 of the names, shapes and float32 values of all weights: the base's identity."""
    digest = hashlib.sha256()
    for name, weight in sorted(unet.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def check_fingerprint(found: str, expected: str, model: str) -> None:
    """Refuse a base on which the weights were not trained.

    Raises:
        ValueError: The two fingerprints differ.
    """
    if found != expected:
        raise ValueError(
            f"the fine-tuned weights were trained on another base than {model} (U-Net "
            f"{expected[:12]}, found {found[:12]}); run `dvc repro finetune`"
        )
