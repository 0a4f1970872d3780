"""What a method trains: choose, freeze, extract, apply.

A checkpoint holds only the trained weights: under the names of the U-Net's state dict, or, for
LoRA, as the adapter file that diffusers loads.
"""

import re

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stages.adapters.hydra_lora import add_hydra_lora, apply_hydra_lora
from stages.adapters.lora import add_lora, extract_lora, merge_lora
from stages.base.identity import check_fit
from stages.config.mistakes import UserError
from stages.config.params import FinetuneParams

TRAINED = {
    "attn2": r"\battn2\b",  # all of the cross-attention
    "attn2_kv": r"\battn2\.to_[kv]\b",  # what reads the text (Custom Diffusion, Kumari et al. 2022)
    "full": r"",
    "lora": r"\blora_",
    "hydra_lora": r"\blora_",
}
"""Per `finetune.method`: what the name of a trained parameter of the U-Net holds.

textual_inversion is not among them: it trains none of the U-Net's, see word.py.
"""


def choose_weights(unet: UNet2DConditionModel, params: FinetuneParams) -> dict[str, nn.Parameter]:
    """Make the method's weights trainable, as float32, and freeze all others.

    Returns:
        The chosen parameters by name, in the order of the state dict.

    Raises:
        UserError: The U-Net has none.
    """
    unet.requires_grad_(False)
    if params.method == "lora":
        add_lora(unet, params.lora, params.seed)
    elif params.method == "hydra_lora":
        add_hydra_lora(unet, params)
    pattern = re.compile(TRAINED[params.method])
    chosen = {name: p for name, p in unet.named_parameters() if pattern.search(name)}
    if not chosen:
        raise UserError(f"finetune.method {params.method}: the base has no such weights to train")
    for parameter in chosen.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return chosen


def copy_weights(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Copies of the weights on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def check_movement(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Refuse a training that changed nothing.

    Raises:
        UserError: All weights are equal, bit for bit.
    """
    if all(torch.equal(before[name], weight) for name, weight in after.items()):
        raise UserError(
            f"none of the {len(after)} trained tensors moved; raise finetune.learning_rate"
        )


def extract_weights(
    unet: UNet2DConditionModel, weights: dict[str, nn.Parameter], method: str
) -> dict[str, Tensor]:
    """What a checkpoint holds: copies of the trained weights on the CPU, under its names."""
    return extract_lora(unet) if method == "lora" else copy_weights(weights)


@torch.no_grad()
def apply_weights(
    unet: UNet2DConditionModel, weights: dict[str, Tensor], params: FinetuneParams
) -> None:
    """Put a checkpoint's weights, trained with `params`, into the base.

    It keeps its architecture, but for hydra_lora, whose adapters are no weights.

    Raises:
        UserError: A name or a shape that the U-Net does not have.
    """
    if params.method == "textual_inversion":
        return  # its weights are the text encoder's
    if params.method == "lora":
        merge_lora(unet, weights, params.lora)
        return
    if params.method == "hydra_lora":
        apply_hydra_lora(unet, weights, params)
        return
    state = unet.state_dict()
    check_fit(weights, state)
    for name, weight in weights.items():
        state[name].copy_(weight)
