"""Load the CLIP scorer with its own preprocessing and tokenizer, through open_clip.

Preprocessing is part of the metric: it is open_clip's own, untouched.
"""

import json
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
from stages.files.hub import Model, fetch_model

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""In the order in which open_clip looks for them; it reads the second one with `weights_only`."""


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


def describe_scorer(name: str, pretrained: str | None) -> Model | None:
    """What a scorer on the hub consists of; None for one in a folder, a file, or elsewhere.

    A tag, such as openai, stands for a repository: open_clip.pretrained says which.
    """
    if name.startswith(HUB_PREFIX):
        repository, file = name.removeprefix(HUB_PREFIX), ""
    elif name.startswith(LOCAL_PREFIX) or pretrained is None:
        return None
    else:
        location = open_clip.get_pretrained_cfg(name, pretrained).get("hf_hub", "")
        repository, _, file = location.rpartition("/")
    if not repository:
        return None
    weights = (file,) if file else WEIGHTS
    config = [(CONFIG,)] if name.startswith(HUB_PREFIX) else []
    return Model(
        what=f"scorer {name}",
        key="bases.*.scorer",
        name=repository,
        revision=None,
        wanted=[*config, weights],
        patterns=["*.json", "*.txt", weights[0]],
        setting=f"bases.*.scorer: {LOCAL_PREFIX}FOLDER, scorer_pretrained: none",
    )


def load_scorer(name: str, pretrained: str | None) -> Scorer:
    """Load open_clip's model `name` (or local-dir:FOLDER, hf-hub:NAME) with weights `pretrained`.

    Raises:
        UserError: The folder, or a file in it, is missing.
        UserError: The name or tag is unknown, the weights cannot be had, or are the wrong ones.
    """
    _check_activation(name, pretrained)
    if name.startswith(LOCAL_PREFIX):
        _check_folder(Path(name.removeprefix(LOCAL_PREFIX)))
    if on_hub := describe_scorer(name, pretrained):
        fetch_model(on_hub)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            name, pretrained=pretrained, device=device, require_pretrained=True
        )
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(
            f"the scorer {name} (weights {pretrained or 'its own'}) cannot be loaded: {reason}; "
            "check bases.*.scorer and scorer_pretrained, and the network if it is not a folder"
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


def _check_activation(name: str, pretrained: str | None) -> None:
    # open_clip >= 2.29 only warns here, and the cosines are wrong.
    config = open_clip.get_model_config(name) if pretrained == "openai" else None
    if config is not None and not config.get("quick_gelu", False):
        raise UserError(
            f"scorer {name} with weights openai: they were trained with QuickGELU; "
            f"use {name}-quickgelu in params.yaml"
        )


def _check_folder(folder: Path) -> None:
    config = folder / CONFIG
    if not config.is_file():
        raise UserError(f"no scorer in {folder}: {config.name} is missing")
    try:
        json.loads(config.read_text(encoding="utf-8"))["model_cfg"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{config}: no JSON with a model_cfg") from None
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"no scorer in {folder}: it holds no weights as .safetensors")
