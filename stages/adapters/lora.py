"""Low-rank adapters (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024) in the U-Net, by peft.

Beside a target's frozen weight W stand two thin matrices; the layer computes
W x + alpha / rank * B A x. Files have the names and the metadata of diffusers' own, so that
`pipe.load_lora_weights` reads them.
"""

import json

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.utils import convert_state_dict_to_kohya
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from stages.base.identity import check_fit
from stages.config.mistakes import UserError
from stages.config.params import LoraParams

PREFIX = "unet."
"""In front of each name in a file: the part of the pipeline that it adapts."""


def add_lora(unet: UNet2DConditionModel, lora: LoraParams, seed: int) -> None:
    """Add adapters that change no output yet: A is random, B is zero (Hu et al. 2021, section 4.1).

    Raises:
        UserError: The name of no layer that can be adapted ends in one of the targets.
    """
    layers = [f".{n}" for n, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for target in lora.targets:
        if not any(name.endswith(f".{target}") for name in layers):
            raise UserError(
                f"finetune.lora.targets: found {target}; should end the name of a linear layer or "
                "a convolution of the base's U-Net"
            )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type] # peft divides by the rank
        target_modules=list(lora.targets),
        use_dora=lora.use_dora,
        init_lora_weights="gaussian",  # as diffusers' training scripts
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(config)


def extract_lora(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Copies of the adapters on the CPU, under diffusers' names."""
    adapters = get_peft_model_state_dict(unet)
    return {f"{PREFIX}{name}": w.detach().cpu().clone() for name, w in adapters.items()}


def describe_lora(unet: UNet2DConditionModel) -> dict[str, str]:
    """The metadata of the file: without it, diffusers takes alpha for equal to the rank."""
    config = unet.peft_config["default"].to_dict()
    values = {f"{PREFIX}{key}": value for key, value in config.items()}
    # A set has another order in each process, and the file's bytes would follow.
    return {LORA_ADAPTER_METADATA_KEY: json.dumps(values, default=sorted, sort_keys=True)}


def merge_lora(unet: UNet2DConditionModel, weights: dict[str, Tensor], lora: LoraParams) -> None:
    """Add what the adapters learned to the U-Net's own weights: W + alpha / rank * B A.

    Raises:
        UserError: The adapters are not those of this U-Net and these params.
    """
    add_lora(unet, lora, seed=0)
    check_fit(weights, extract_lora(unet))
    set_peft_model_state_dict(unet, {n.removeprefix(PREFIX): w for n, w in weights.items()})
    unet.fuse_lora()
    unet.unload_lora()


def to_kohya(weights: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The adapters, not DoRA's, under the names of kohya's sd-scripts, with an alpha a module."""
    converted = convert_state_dict_to_kohya(weights)
    for name in converted:
        if name.endswith(".alpha"):  # diffusers 0.42 writes the rank
            converted[name] = torch.tensor(alpha)
    return converted
