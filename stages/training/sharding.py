"""Weights in shards: each process keeps its part of every weight, its gradient and its moments.

distributed_type FSDP in `launch.config_file` asks for it (Zhao et al. 2023, "PyTorch FSDP").
torch's `fully_shard` gathers the weights of a block while it computes, then averages its gradients
and shares them out. A shard is a DTensor, which has the name and the shape of the whole, so the
training loop takes it for one. Checkpoints hold whole weights: they pass through here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from stages.config.mistakes import UserError
from stages.config.params import FinetuneParams
from stages.run.processes import count_processes, is_main_process, is_sharded

GATHERED_TOGETHER = (BasicTransformerBlock, ResnetBlock2D)
"""The blocks of a U-Net, gathered one by one; what is between them is gathered all at once."""
METHODS = ("attn2", "attn2_kv", "full")
"""Those that train the U-Net's own weights; what others train is too little to be shared out."""
OPTIMIZERS = ("adamw",)
"""bitsandbytes 0.50 takes no DTensor."""


def check_sharding(params: FinetuneParams) -> None:
    """Refuse, before any work, what can't be trained in shards, where they are asked for.

    Raises:
        UserError: The method or the optimizer.
    """
    for key, allowed in {"method": METHODS, "optimizer": OPTIMIZERS}.items():
        if is_sharded() and (found := getattr(params, key)) not in allowed:
            raise UserError(
                f"params.yaml: finetune.{key}: found {found}, which can't train weights in shards; "
                f"it should be {' or '.join(allowed)}, or launch.config_file of distributed_type "
                "MULTI_GPU instead of FSDP"
            )


def shard_weights(
    unet: UNet2DConditionModel, weights: dict[str, nn.Parameter], device: torch.device
) -> None:
    """Move this process's part of the U-Net to its device; `weights` become the shards.

    They change in place, so that nobody keeps the whole ones.
    """
    mesh = init_device_mesh(device.type, (count_processes(),))
    for module in reversed(list(unet.modules())):  # inner ones first
        if isinstance(module, GATHERED_TOGETHER):
            fully_shard(module, mesh=mesh)
    # By default the U-Net's own weights would stay whole after a validation, as they were then.
    fully_shard(unet, mesh=mesh, reshard_after_forward=True)
    weights.update({name: p for name, p in unet.named_parameters() if name in weights})


def gather_shards(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, those in shards made whole, on the CPU; only the main process gets them.

    All processes have to call it together.
    """
    gathered = {}
    for name, tensor in tensors.items():
        # One at a time: no GPU has to hold them all.
        whole = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if whole is tensor or is_main_process():
            gathered[name] = whole
    return gathered


def make_whole(tensor: Tensor) -> Tensor:
    """The tensor that is shared out, in every process; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """This process's part of a whole tensor if `other`, of the same shape, is in shards."""
    if not isinstance(other, DTensor):
        return tensor
    whole = tensor.to(other.device)
    # Each process has the whole, so nothing has to be sent.
    return distribute_tensor(whole, other.device_mesh, other.placements, src_data_rank=None)
