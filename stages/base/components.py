"""Load the parts of a base model from a folder in the diffusers layout or from the hub.

Only safetensors and JSON are read: no pickle, no remote code. Weights arrive as float32 on the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from stages.base.base_files import describe_base
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from stages.files.hub import is_local

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Models(NamedTuple):
    """All of a base that weights can be put into, with the tokenizer, which can learn a word."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    tokenizer: CLIPTokenizer

    @property
    def parts(self) -> dict[str, Any]:
        """The models by the names of their folders."""
        return {"unet": self.unet, "text_encoder": self.text_encoder, "vae": self.vae}


def load_unet(base: BaseParams) -> UNet2DConditionModel:
    """The frozen denoiser, in eval mode."""
    return _load_model(UNet2DConditionModel, base, "unet", torch_dtype=torch.float32)


def load_vae(base: BaseParams, device: torch.device) -> AutoencoderKL:
    """The frozen autoencoder, in eval mode; float32 always: fp16 overflows to black."""
    vae = _load_model(AutoencoderKL, base, "vae", torch_dtype=torch.float32)
    return nn.Module.to(vae.to(device), memory_format=torch.channels_last)


def load_text_encoder(
    base: BaseParams, device: torch.device
) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """The tokenizer and the frozen text encoder, float32, in eval mode."""
    with _explain_failure(base, "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(**_locate(base, "tokenizer"))
    disable_progress_bar()  # transformers': a bar for a load of a second
    text_encoder = _load_model(CLIPTextModel, base, "text_encoder", dtype=torch.float32)
    return tokenizer, text_encoder.to(device)


def load_scheduler_config(base: BaseParams) -> dict[str, Any]:
    """The noise schedule's config, from which any scheduler can be built."""
    with _explain_failure(base, "scheduler"):
        return DDPMScheduler.load_config(**_locate(base, "scheduler"))


def load_noise_scheduler(base: BaseParams) -> DDPMScheduler:
    """The noise schedule to train with, whichever scheduler the base samples with."""
    return DDPMScheduler.from_config(load_scheduler_config(base))


def load_models(base: BaseParams) -> Models:
    """All that weights can be put into, on the CPU."""
    tokenizer, text_encoder = load_text_encoder(base, torch.device("cpu"))
    vae = _load_model(AutoencoderKL, base, "vae", torch_dtype=torch.float32)
    return Models(load_unet(base), text_encoder, vae, tokenizer)


def load_pipeline(base: BaseParams, models: Models) -> StableDiffusionPipeline:
    """The base as a whole, float32, with these models and without the safety checker.

    It is put together from the parts that the stages load, so it needs no file that they don't.
    """
    config = load_scheduler_config(base)
    with _explain_failure(base, "scheduler"):
        noise_scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    return StableDiffusionPipeline(
        **models._asdict(),
        scheduler=noise_scheduler,
        safety_checker=None,
        feature_extractor=None,  # the safety checker's
        requires_safety_checker=False,
    )


def _load_model(kind: Any, base: BaseParams, part: str, **dtype: torch.dtype) -> Any:
    with _explain_failure(base, part):
        model, info = kind.from_pretrained(
            **_locate(base, part),
            **dtype,
            variant=base.weights_variant,
            use_safetensors=True,
            output_loading_info=True,
        )
        if info["missing_keys"]:
            raise UserError(f"its weights file lacks {sorted(info['missing_keys'])[0]}")
    return model.requires_grad_(False).eval()


def _locate(base: BaseParams, part: str) -> dict[str, Any]:
    return {
        "pretrained_model_name_or_path": base.model,
        "subfolder": part,
        "revision": base.revision,
        "local_files_only": _is_here(base),
    }


def _is_here(base: BaseParams) -> bool:
    """Whether nothing has to be asked of the hub, which may be slow or out of reach."""
    return is_local(base.model) or not describe_base(base).list_missing()


@contextmanager
def _explain_failure(base: BaseParams, part: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one line that names the model and a remedy."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if is_local(base.model):
            remedy = (
                "check bases.*.model in params.yaml, or get the folder again (the shipped one: "
                "`git checkout models`)"
            )
            where = "is incomplete or damaged" if Path(base.model).is_dir() else "does not exist"
            found = f"the folder {base.model} {where}: its {part} can't be loaded"
        else:
            remedy = (
                "check the name and revision in params.yaml and the network; a damaged file is "
                f"replaced by `{describe_base(base).download_command} --force-download`"
            )
            found = f"the {part} of {base.model} can't be loaded from the hub or its cache"
        raise UserError(f"base model: {found}; {remedy} ({lines[0].rstrip('.')})") from error
