"""Whole models that others trained: a folder in the diffusers layout, or one file in the first one.

Both become the state of each part of the base, under the base's names. diffusers' converters do it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DDPMScheduler
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor

from stages.adapters.foreign import KEY, PIPELINE
from stages.base.base_files import describe_base
from stages.base.components import Models, load_models, load_scheduler_config
from stages.config.mistakes import UserError, enumerate_some
from stages.config.params import BaseParams

PREFIXES = {
    "unet": "model.diffusion_model.",
    "text_encoder": "cond_stage_model.transformer.",
    "vae": "first_stage_model.",
}
"""Of the parts, in a single file (Stable Diffusion's own code)."""
NO_WEIGHTS = re.compile(r"^[^.]+$|^model_ema\.|\bposition_ids$")
"""The noise schedule, the average that training kept, and the numbers of the tokens' places."""
OTHER_BASES = {
    "conditioner.": "Stable Diffusion XL",
    "cond_stage_model.model.": "Stable Diffusion 2.x",
    "text_encoders.": "a transformer such as Stable Diffusion 3",
}
PIPELINES = ("StableDiffusionPipeline",)
CLIP = "text_model."
ANY_SIZE = ("sample_size", "force_upcast")
"""Of the config of a part: what changes no result."""
SCHEDULE = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "prediction_type")
OF_ENCODER = ("hidden_act", "num_attention_heads", "layer_norm_eps", "max_position_embeddings")

State = dict[str, Tensor]


def is_single_file(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of a whole model in one file, of this family or its neighbours."""
    return any(key.startswith((*PREFIXES.values(), *OTHER_BASES)) for key in tensors)


def convert_single_file(tensors: Mapping[str, Tensor], models: Models) -> dict[str, State]:
    """The state of each part that is in the file.

    Raises:
        UserError: Keys fit no part of the base.
    """
    for prefix, base in OTHER_BASES.items():
        if any(key.startswith(prefix) for key in tensors):
            raise UserError(f"{KEY}: the file is of {base}; choose a base of that architecture")
    weights = {key: tensor for key, tensor in tensors.items() if not NO_WEIGHTS.search(key)}
    try:
        states = {
            "unet": convert_ldm_unet_checkpoint(dict(weights), dict(models.unet.config)),
            "text_encoder": convert_ldm_clip_checkpoint(dict(weights)),
            "vae": convert_ldm_vae_checkpoint(dict(weights), dict(models.vae.config)),
        }
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"{KEY}: the file lacks {error}, which the base has; another architecture, or cut"
        ) from None
    states["text_encoder"] = _rename(states["text_encoder"], models.text_encoder.state_dict())
    states = {part: state for part, state in states.items() if state}
    used = {tensor.data_ptr() for state in states.values() for tensor in state.values()}
    strange = [key for key, tensor in weights.items() if tensor.data_ptr() not in used]
    if strange:
        raise UserError(
            f"{KEY}: {len(strange)} of {len(tensors)} keys fit nothing in the base: "
            f"{enumerate_some(strange)}; another architecture"
        )
    return states


def _rename(state: State, names: Mapping[str, Any]) -> State:
    """A text encoder's tensors by the names that this version of transformers has."""
    bare = {name.removeprefix(CLIP): name for name in names}
    return {bare.get(n.removeprefix(CLIP), n): tensor for n, tensor in state.items()}


def load_foreign_parts(folder: Path, base: BaseParams, models: Models) -> dict[str, State]:
    """The state of each part of a pipeline's folder.

    Raises:
        UserError: It is of another architecture, or not whole, or drawn by another schedule.
    """
    found = json.loads((folder / PIPELINE).read_bytes()).get("_class_name")
    if found not in PIPELINES:
        raise UserError(f"{KEY}: {folder} is a {found}; should be a {PIPELINES[0]}")
    foreign = _name_folder(folder, None)
    if missing := describe_base(foreign).list_missing():
        foreign = _name_folder(folder, "fp16")
        if describe_base(foreign).list_missing():
            raise UserError(f"{KEY}: the folder {folder} lacks {', '.join(missing)}; get it again")
    try:
        theirs = load_models(foreign)
        schedules = [_read_schedule(which) for which in (foreign, base)]
    except UserError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(f"{KEY}: {folder} can't be loaded ({reason})") from None
    _compare(folder, "scheduler", *schedules)
    for part, ours in models.parts.items():
        _compare(folder, part, _list_settings(theirs.parts[part]), _list_settings(ours))
    return {part: model.state_dict() for part, model in theirs.parts.items()}


def _name_folder(folder: Path, variant: str | None) -> BaseParams:
    """The folder as a base, as far as loading it goes."""
    values: dict[str, Any] = {"model": str(folder), "revision": None, "weights_variant": variant}
    return BaseParams.model_construct(**values)


def _read_schedule(base: BaseParams) -> dict[str, Any]:
    config = DDPMScheduler.from_config(load_scheduler_config(base)).config
    return {key: config[key] for key in SCHEDULE}


def _list_settings(part: Any) -> dict[str, Any]:
    """What of a part's config changes what it computes; sizes show in its weights."""
    if hasattr(part.config, "to_dict"):  # transformers'
        return {key: getattr(part.config, key) for key in OF_ENCODER}
    return {k: v for k, v in part.config.items() if k[0] != "_" and k not in ANY_SIZE}


def _compare(folder: Path, part: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise UserError(
                f"{KEY}: {key} of the {part} of {folder} is {theirs.get(key)}, the base's is "
                f"{value}; choose a base that is alike"
            )
