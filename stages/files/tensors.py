"""safetensors in and out: encoded pairs, fine-tuned weights, checkpoints."""

import errno
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file
from stages.files.tables import read_json, write_json

logger = logging.getLogger(__name__)

UNET_NAME = "unet.safetensors"
WEIGHTS_NAMES = {
    "lora": "pytorch_lora_weights.safetensors",  # `pipe.load_lora_weights(folder)` looks for it
    "hydra_lora": "hydra_lora.safetensors",
    "textual_inversion": "learned_embeds.safetensors",  # and `pipe.load_textual_inversion(folder)`
    "import": "imported.safetensors",
}
"""Of the methods that don't train the U-Net's own weights."""
CONFIG_NAME = "config.json"
SPLITS = ("train", "validation", "subject", "subject_held_out")
"""Of the pairs: of the domain, and of the subject that some methods teach."""
ROWS_AT_ONCE = 64


class Latents(NamedTuple):
    """What `encode` writes of the pictures, in the row order of the pairs.

    Attributes:
        mean: (N, 4, h, w), unscaled, of the VAE's posterior.
        std: (N, 4, h, w), unscaled.
        split: (N,) int64, the place in `SPLITS`.
        scaling_factor: () float64, the VAE's.
    """

    mean: Tensor
    std: Tensor
    split: Tensor
    scaling_factor: Tensor


class PromptEmbeds(NamedTuple):
    """What `encode` writes of the captions.

    Attributes:
        prompt_embeds: (K, L, D), of "" first, then of each distinct caption.
        caption_index: (N,) int64, the row of `prompt_embeds` of each pair.
    """

    prompt_embeds: Tensor
    caption_index: Tensor


def build_latents(
    mean: Tensor, std: Tensor, splits: Sequence[str], scaling_factor: float
) -> Latents:
    """Put means and standard deviations, (N, 4, h, w) each, together with what else is known."""
    factor = torch.tensor(scaling_factor, dtype=torch.float64)
    return Latents(mean, std, torch.tensor([SPLITS.index(name) for name in splits]), factor)


def build_prompt_embeds(prompt_embeds: Tensor, rows: Sequence[int]) -> PromptEmbeds:
    """Embeddings (K, L, D) with the row of each pair, (N,)."""
    return PromptEmbeds(prompt_embeds, torch.tensor(rows, dtype=torch.int64))


def encode_nothing() -> tuple[Latents, PromptEmbeds]:
    """What there is of no pairs."""
    nothing = torch.empty(0, 1, 1, 1)
    return build_latents(nothing, nothing, [], 1), build_prompt_embeds(nothing[..., 0], [])


def map_tensor(path: Path, shape: Sequence[int]) -> Tensor:
    """Float32 zeros in a new file: a tensor that may be larger than the memory.

    Raises:
        OSError: The disk is too full.
    """
    num_values = math.prod(shape)
    with path.open("xb") as file:
        if hasattr(os, "posix_fallocate"):  # else a full disk would end the process without a word
            os.posix_fallocate(file.fileno(), 0, 4 * num_values)
    return torch.from_file(str(path), shared=True, size=num_values).view(*shape)


def read_latents(path: Path) -> Latents:
    """Read the latents of all pairs.

    Raises:
        UserError: `encode` has not run.
        UserError: Tensors are missing or don't fit together.
    """
    latents = Latents(**_read_named(path, Latents._fields))
    count = len(latents.mean)
    if latents.std.shape != latents.mean.shape or latents.split.shape != (count,):
        raise UserError(f"{path}: its tensors are of different lengths; run `dvc repro encode`")
    return latents


def read_prompt_embeds(path: Path) -> PromptEmbeds:
    """Read the embeddings of all captions.

    Raises:
        UserError: `encode` has not run.
        UserError: Tensors are missing or don't fit together.
    """
    embeds = PromptEmbeds(**_read_named(path, PromptEmbeds._fields))
    if embeds.caption_index.max() >= len(embeds.prompt_embeds):
        raise UserError(f"{path}: caption_index points past its end; run `dvc repro encode`")
    return embeds


def write_finetuned(
    folder: Path,
    weights: dict[str, Tensor],
    config: Mapping[str, Any],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write trained weights and what they are to a folder; those of adapters have metadata."""
    write_tensors(folder / WEIGHTS_NAMES.get(config["method"], UNET_NAME), weights, metadata)
    write_json(config, folder / CONFIG_NAME)


def read_finetuned(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read trained weights and their config.

    Raises:
        UserError: `finetune` has not run.
        UserError: The folder is damaged.
    """
    path = folder / CONFIG_NAME
    config = read_json(path, "finetune")
    return read_tensors(folder / WEIGHTS_NAMES.get(config["method"], UNET_NAME), "finetune"), config


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors by name, whole or not at all."""
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with replace_file(path) as partial:
        try:
            save_file(contiguous, partial, metadata)
        except SafetensorError as error:
            found = re.search(r"\(os error (\d+)\)", str(error))
            raise OSError(int(found[1]) if found else errno.EIO, str(error)) from error


def read_tensors(path: Path, stage: str) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU.

    Raises:
        UserError: The file is not there; the message names the stage that makes it.
        UserError: The file is not whole.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; run `dvc repro {stage}`")
    try:
        return load_file(path)
    except SafetensorError as error:
        message = f"{path} is damaged ({error}); run `dvc repro -f {stage}`"
        raise UserError(message) from None


def read_checkpoint(path: Path) -> dict[str, Tensor] | None:
    """The tensors of unfinished work; None, with a warning if it is damaged, to start anew."""
    try:
        return load_file(path) if path.exists() else None
    except SafetensorError as error:
        logger.warning("%s is damaged (%s); starting anew", path, error)
        return None


def hash_inputs(values: Mapping[str, Any], *files: Path) -> str:
    """A name for a run: 16 hex digits of the SHA-256 of its params and the bytes of its inputs."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _read_named(path: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    tensors = read_tensors(path, "encode")
    missing = sorted(set(names) - set(tensors))
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; run `dvc repro -f encode`")
    for name, tensor in tensors.items():
        # Looked at in parts: the file is mapped and may not fit in memory.
        parts = tensor.split(ROWS_AT_ONCE) if tensor.ndim else [tensor]
        if not all(part.isfinite().all() for part in parts):
            raise UserError(f"{path}: {name} holds values that are not finite")
    return {name: tensors[name] for name in names}
