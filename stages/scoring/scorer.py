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
from stages.files.download import fetch_model
from stages.files.hub import Model

logger = logging.getLogger(__name__)

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""In the order in which open_clip looks for them; it reads the second one with `weights_only`."""
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
"""Of what a tag says; a file's path would not tell open_clip."""


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


def describe_scorer(name: str, pretrained: str | None, revision: str | None = None) -> Model | None:
    """What a scorer on the hub consists of; None for one in a folder, a file, or elsewhere.

    A tag, such as openai, stands for a repository: open_clip.pretrained says which.
    """
    if name.startswith(HUB_PREFIX):
        repository, file = name.removeprefix(HUB_PREFIX), ""
    elif name.startswith(LOCAL_PREFIX) or pretrained is None:
        return None
    else:
        location = _read_tag(name, pretrained).get("hf_hub", "")
        repository, _, file = location.rpartition("/")
    if not repository:
        return None
    weights = (str(Path(file).with_suffix(".safetensors")), file) if file else WEIGHTS
    config = [(CONFIG,)] if name.startswith(HUB_PREFIX) else []
    return Model(
        what=f"scorer {name}",
        key="bases.*.scorer",
        revision_key="bases.*.scorer_revision",
        name=repository,
        revision=revision,
        wanted=[*config, weights],
        patterns=["*.json", "*.txt", weights[0]],
        setting=f"bases.*.scorer: {LOCAL_PREFIX}FOLDER, scorer_pretrained: none",
    )


def load_scorer(name: str, pretrained: str | None, revision: str | None = None) -> Scorer:
    """Load open_clip's model `name` (or local-dir:FOLDER, hf-hub:NAME) with weights `pretrained`.

    What is on the hub is downloaded first, at `revision`: open_clip itself knows no revisions, and
    takes another file where a download fails.

    Raises:
        UserError: The folder, or a file in it, is missing.
        UserError: The name or tag is unknown, the weights cannot be had, or are the wrong ones.
    """
    _check_activation(name, pretrained)
    if name.startswith(LOCAL_PREFIX):
        _check_folder(Path(name.removeprefix(LOCAL_PREFIX)))
    source, how = _fetch(name, pretrained, revision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            source, device=device, require_pretrained=True, **how
        )
        tokenizer = open_clip.get_tokenizer(_choose_tokenizer(name, source))
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


def _read_tag(name: str, pretrained: str | None) -> dict[str, Any]:
    """What open_clip knows of weights by their tag; nothing of a file's."""
    return open_clip.get_pretrained_cfg(name.replace("/", "-"), pretrained) if pretrained else {}


def _check_activation(name: str, pretrained: str | None) -> None:
    # open_clip >= 2.29 only warns here, and not of a file; the cosines are wrong.
    tag = _read_tag(name, pretrained)
    config = open_clip.get_model_config(name.replace("/", "-")) if tag else None
    if config is None or config.get("quick_gelu", False) == tag.get("quick_gelu", False):
        return
    if pretrained == "openai":
        raise UserError(
            f"scorer {name} with weights openai: they were trained with QuickGELU; "
            f"use {name}-quickgelu in params.yaml"
        )
    logger.warning("scorer %s: of QuickGELU open_clip says the contrary for %s", name, pretrained)


def _fetch(name: str, pretrained: str | None, revision: str | None) -> tuple[str, dict[str, Any]]:
    """The name and the arguments by which open_clip finds all it needs on this machine."""
    on_hub = describe_scorer(name, pretrained, revision)
    if on_hub is None:
        return name, {"pretrained": pretrained}
    fetch_model(on_hub)
    weights = next(path for file in on_hub.wanted[-1] if (path := on_hub.find(file)))
    if name.startswith(HUB_PREFIX):
        return f"{LOCAL_PREFIX}{weights.parent}", {}
    tag = _read_tag(name, pretrained)
    preprocessing = {f"image_{key}": tag[key] for key in PREPROCESSING if key in tag}
    return name, {"pretrained": str(weights), **preprocessing}


def _choose_tokenizer(name: str, source: str) -> str:
    """The source; but a repository may name a tokenizer of the hub that is not in it."""
    if not name.startswith(HUB_PREFIX):
        return source
    named = open_clip.get_model_config(source)["text_cfg"].get("hf_tokenizer_name")
    is_inside = any(Path(source.removeprefix(LOCAL_PREFIX)).glob("tokenizer*"))
    return name if named and not is_inside else source


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
