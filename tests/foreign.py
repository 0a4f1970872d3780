"""Files as other trainers write them, laid out from the published descriptions of their formats.

kohya's sd-scripts and LyCORIS name a layer by its path with underscores, after `lora_unet_` or
`lora_te_`. Stable Diffusion's own code has one file, with blocks numbered through.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

Tensors = dict[str, Tensor]
UNET_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
)
"""What kohya adapts of a U-Net by default: all layers of the transformers, 192 in v1.5."""
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""And of a text encoder: 72 in v1.5."""
CONV_TARGETS = ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv")


def list_kohya_layers(
    unet: nn.Module, text_encoder: nn.Module | None, targets: Iterable[str] = UNET_TARGETS
) -> dict[str, nn.Module]:
    """The layers that kohya adapts, by the names in its files."""
    layers = _name_layers("lora_unet_", unet, targets)
    if text_encoder is not None:
        # From when transformers had `text_model.` in front of all names of a text encoder.
        layers |= _name_layers("lora_te_text_model_", text_encoder, TEXT_TARGETS)
    return layers


def _name_layers(prefix: str, model: nn.Module, targets: Iterable[str]) -> dict[str, nn.Module]:
    ends = tuple(f".{target}" for target in targets)
    return {
        prefix + name.replace(".", "_"): layer
        for name, layer in model.named_modules()
        if name.endswith(ends) and isinstance(layer, nn.Linear | nn.Conv2d)
    }


def write_kohya(
    layers: Mapping[str, nn.Module], rank: int | Callable[[int], int], alpha: float | None
) -> Tensors:
    """LoRA of random values: convolutions have an up of 1 x 1."""
    tensors = {}
    for number, (name, layer) in enumerate(layers.items()):
        inner = rank if isinstance(rank, int) else rank(number)
        shape = layer.weight.shape
        tensors[f"{name}.lora_down.weight"] = _draw(inner, *shape[1:])
        tensors[f"{name}.lora_up.weight"] = _draw(shape[0], inner, *[1] * (len(shape) - 2))
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    return tensors


def write_loha(layers: Mapping[str, nn.Module], rank: int, alpha: float) -> Tensors:
    """LyCORIS's LoHa: two low-rank products, multiplied value by value."""
    tensors = {}
    for name, layer in layers.items():
        rows, columns = layer.weight.flatten(1).shape
        for factor in ("w1", "w2"):
            tensors[f"{name}.hada_{factor}_a"] = _draw(rows, rank)
            tensors[f"{name}.hada_{factor}_b"] = _draw(rank, columns)
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    return tensors


def write_lokr(layers: Mapping[str, nn.Module], rank: int, alpha: float) -> Tensors:
    """LyCORIS's LoKr: a Kronecker product of a 2 x 2 matrix and a low-rank one."""
    tensors = {}
    for name, layer in layers.items():
        rows, columns = layer.weight.shape
        tensors[f"{name}.lokr_w1"] = _draw(2, 2)
        tensors[f"{name}.lokr_w2_a"] = _draw(rows // 2, rank)
        tensors[f"{name}.lokr_w2_b"] = _draw(rank, columns // 2)
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    return tensors


def save(tensors: Mapping[str, Tensor], path: Path, **metadata: str) -> Path:
    """Write a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path, metadata)
    return path


def write_single_file(pipeline: StableDiffusionPipeline) -> Tensors:
    """All weights of a pipeline, and its schedule, as Stable Diffusion's own code names them."""
    num_layers = pipeline.unet.config.layers_per_block
    tensors = {
        f"model.diffusion_model.{_name_unet(name, pipeline.unet, num_layers)}": weight
        for name, weight in pipeline.unet.state_dict().items()
    }
    tensors |= {
        f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": weight
        for name, weight in pipeline.text_encoder.state_dict().items()
    }
    for name, weight in pipeline.vae.state_dict().items():
        key = _name_vae(name, len(pipeline.vae.config.block_out_channels))
        is_matrix = ".attn_1." in key and key.endswith("weight") and weight.ndim == 2
        tensors[f"first_stage_model.{key}"] = weight[..., None, None] if is_matrix else weight
    places = torch.arange(pipeline.text_encoder.config.max_position_embeddings)[None]
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = places
    tensors["alphas_cumprod"] = pipeline.scheduler.alphas_cumprod
    return {name: tensor.clone() for name, tensor in tensors.items()}


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
FIRST_AND_LAST = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def _name_unet(name: str, unet: Any, num_layers: int) -> str:
    """A U-Net's tensor in openaimodel.py: blocks of resnet, attention and resampling, numbered."""
    for ours, theirs in FIRST_AND_LAST.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    words = name.split(".")
    if words[0] == "mid_block":
        kind, number, rest = words[1], int(words[2]), words[3:]
        place = f"middle_block.{2 * number if kind == 'resnets' else 1}"
        return f"{place}.{_name_inside(kind, rest)}"
    level, kind, number, rest = int(words[1]), words[2], int(words[3]), words[4:]
    if words[0] == "down_blocks":
        if kind == "downsamplers":  # conv
            return f"input_blocks.{(level + 1) * (num_layers + 1)}.0.op.{rest[1]}"
        place = f"input_blocks.{level * (num_layers + 1) + number + 1}"
        return f"{place}.{int(kind == 'attentions')}.{_name_inside(kind, rest)}"
    block = level * (num_layers + 1)
    if kind == "upsamplers":
        has_attention = hasattr(unet.up_blocks[level], "attentions")
        return f"output_blocks.{block + num_layers}.{1 + has_attention}.{'.'.join(rest)}"
    return f"output_blocks.{block + number}.{int(kind == 'attentions')}.{_name_inside(kind, rest)}"


def _name_inside(kind: str, rest: list[str]) -> str:
    if kind == "attentions":
        return ".".join(rest)
    return f"{RESNET[rest[0]]}.{rest[1]}"


VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}


def _name_vae(name: str, num_levels: int) -> str:
    """A VAE's tensor in autoencoder.py: the decoder's levels are counted from the inside out."""
    words = name.split(".")
    if len(words) < 4 or words[1] not in ("down_blocks", "up_blocks", "mid_block"):
        return name.replace("conv_norm_out", "norm_out")
    half, block, *rest = words
    if block == "mid_block":
        if rest[0] == "attentions":
            return f"{half}.mid.attn_1.{VAE_ATTENTION[rest[2]]}.{rest[-1]}"
        return f"{half}.mid.block_{int(rest[1]) + 1}.{'.'.join(rest[2:])}"
    level = int(rest[0]) if block == "down_blocks" else num_levels - 1 - int(rest[0])
    side = block.split("_")[0]
    if rest[1] != "resnets":
        return f"{half}.{side}.{level}.{side}sample.{'.'.join(rest[3:])}"
    inner = ".".join(rest[3:]).replace("conv_shortcut", "nin_shortcut")
    return f"{half}.{side}.{level}.block.{rest[2]}.{inner}"


_generator = torch.Generator().manual_seed(0)


def _draw(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=_generator)
