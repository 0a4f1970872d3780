"""What a training step of Stable Diffusion 1.5 keeps in a GPU's memory, counted without a GPU.

Tensors are fake: they have the shapes and dtypes that CUDA's fp16 autocast gives them, and no
values. Counted is what autograd keeps for the gradient; attention is taken as the flash kernel,
which PyTorch prefers there.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from tests.stable_diffusion import build_unet

GIB = 2**30
ADAM_BYTES = 16
"""Of a trained parameter: float32 itself, its gradient, and Adam's two averages."""
TEXT_SHAPE = (77, 768)


class Account(NamedTuple):
    """Bytes at the end of the forward pass, when they are the most."""

    frozen: int
    """Weights in float16."""
    trained: int
    """Weights in float32, with gradients and Adam's averages."""
    kept: int
    """What autograd keeps for the gradient; autocast's copies of trained weights are among it."""

    def __str__(self) -> str:
        parts = " | ".join(f"{part / GIB:.2f}" for part in self)
        return f"{parts} | **{sum(self) / GIB:.2f}**"


def list_accounts() -> list[str]:
    """A table of methods, batch sizes and gradient checkpointing, in GiB."""
    names = ("method", "batch", "px", "checkpointing", *Account._fields, "sum")
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for method, batch_size, resolution_px, checkpointing in (
        ("attn2", 1, 256, False),
        ("attn2", 4, 256, False),
        ("attn2", 4, 256, True),
        ("full", 4, 256, False),
    ):
        account = account_step(method, batch_size, resolution_px, checkpointing)
        word = "yes" if checkpointing else "no"
        lines.append(f"| {method} | {batch_size} | {resolution_px} | {word} | {account} |")
    return lines


def account_step(method: str, batch_size: int, resolution_px: int, checkpointing: bool) -> Account:
    """The account of one step; `method` is attn2 or full."""
    with FakeTensorMode(), torch.device("cuda"):
        unet = build_unet()
        for name, weight in unet.named_parameters():
            weight.requires_grad_(method == "full" or ".attn2." in name)
            if not weight.requires_grad:
                weight.data = weight.data.half()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        side = resolution_px // 8
        latents = torch.empty(batch_size, 4, side, side, dtype=torch.float16)
        embeds = torch.empty(batch_size, *TEXT_SHAPE, dtype=torch.float16)
        timesteps = torch.zeros(batch_size, dtype=torch.int64)

        def compute() -> Tensor:
            pred = unet(latents, timesteps, encoder_hidden_states=embeds).sample
            return F.mse_loss(pred.float(), torch.empty_like(latents, dtype=torch.float32))

        kept = count_kept(compute, unet)
        trained = sum(w.numel() for w in unet.parameters() if w.requires_grad)
        frozen = sum(w.numel() for w in unet.parameters() if not w.requires_grad)
    return Account(2 * frozen, ADAM_BYTES * trained, kept)


def count_kept(compute: Callable[[], Tensor], unet: UNet2DConditionModel) -> int:
    """Bytes that autograd keeps of a computation under CUDA's fp16 autocast, weights left out."""
    fused = F.scaled_dot_product_attention
    was_enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    # `torch.autocast` itself refuses where there is no GPU.
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16)
    F.scaled_dot_product_attention = _attend_flash
    try:
        return count_saved(compute, unet)
    finally:
        F.scaled_dot_product_attention = fused
        torch.set_autocast_enabled("cuda", was_enabled)
        torch.set_autocast_dtype("cuda", dtype)
        torch.clear_autocast_cache()


def count_saved(compute: Callable[[], Tensor], unet: UNet2DConditionModel) -> int:
    """Bytes of all storages that autograd keeps, those of the weights left out."""
    kept: dict[int, Tensor] = {}
    weights = {weight.untyped_storage()._cdata for weight in unet.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # alive, so that no other gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()
    del result
    return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights)


def _attend_flash(query: Tensor, key: Tensor, value: Tensor, **_: object) -> Tensor:
    parts = (tensor.half() for tensor in (query, key, value))
    return torch.ops.aten._scaled_dot_product_flash_attention(*parts)[0]
