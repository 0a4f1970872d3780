"""Load the CLIP scorer with its own preprocessing and tokenizer, through open_clip.

Preprocessing is part of the metric: it is open_clip's own, untouched.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from stages.config.mistakes import UserError
from stages.files.clip_files import CONFIG, LOCAL_PREFIX, locate_clip, read_tag

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scorer:
    """A frozen CLIP model in eval mode, float32."""

    model: Any  # open_clip's own classes, which share encode_image and encode_text
    preprocess: Callable[[Image.Image], Tensor]
    """A PIL picture -> (3, H, W), resized and normalised as the model was trained."""
    tokenizer: Callable[..., Tensor]
    device: torch.device
    name: str
    weights: str


def load_scorer(
    name: str, pretrained: str | None, revision: str | None = None, role: str = "scorer"
) -> Scorer:
    """Load open_clip's model `name` (or local-dir:FOLDER, hf-hub:NAME) with weights `pretrained`.

    What is on the hub is downloaded first, at `revision`. `role`, for messages, is what params.yaml
    calls it: scorer or guide.

    Raises:
        UserError: The folder, or a file in it, is missing.
        UserError: The name or tag is unknown, the weights cannot be had, or are the wrong ones.
    """
    _check_activation(name, pretrained, role)
    if name.startswith(LOCAL_PREFIX):
        _check_folder(Path(name.removeprefix(LOCAL_PREFIX)), role)
    located = locate_clip(name, pretrained, revision, role)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            located.name, device=device, require_pretrained=True, **located.arguments
        )
        tokenizer = open_clip.get_tokenizer(located.tokenizer)
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(
            f"the {role} {name} (weights {pretrained or 'its own'}) cannot be loaded: {reason}; "
            f"check bases.*.{role} and {role}_pretrained, and the network if it is not a folder"
        ) from error
    model = model.eval().requires_grad_(False)
    return Scorer(model, preprocess, tokenizer, device, name, pretrained or "its own")


def describe_preprocessing(scorer: Scorer) -> str:
    """How a picture gets into the scorer: side, resize filter, crop, mean and deviation."""
    values = open_clip.get_model_preprocess_cfg(scorer.model)
    return (
        f"open_clip: {values['resize_mode']} side to {values['size']} px, "
        f"{values['interpolation']}, antialiased, middle square, "
        f"mean {values['mean']}, deviation {values['std']}"
    )


def _check_activation(name: str, pretrained: str | None, role: str) -> None:
    # open_clip >= 2.29 only warns here, and not of a file; the cosines are wrong.
    tag = read_tag(name, pretrained)
    config = open_clip.get_model_config(name.replace("/", "-")) if tag else None
    if config is None or config.get("quick_gelu", False) == tag.get("quick_gelu", False):
        return
    if pretrained == "openai":
        raise UserError(
            f"{role} {name} with weights openai: they were trained with QuickGELU; "
            f"use {name}-quickgelu in params.yaml"
        )
    logger.warning("%s %s: of QuickGELU open_clip says the contrary for %s", role, name, pretrained)


def _check_folder(folder: Path, role: str) -> None:
    config = folder / CONFIG
    if not config.is_file():
        raise UserError(f"no {role} in {folder}: {config.name} is missing")
    try:
        json.loads(config.read_text(encoding="utf-8"))["model_cfg"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{config}: no JSON with a model_cfg") from None
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"no {role} in {folder}: it holds no weights as .safetensors")
