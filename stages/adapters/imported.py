"""Weights that others trained, made ready for the base: an adapter, a whole checkpoint, or a word.

What is kept is of one kind: the tensors of an adapter by layer, those of a checkpoint that differ
from the base's, or the rows of a word. Whatever does not fit is refused, with the likely cause, and
what fits is counted.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stages.adapters.checkpoints import convert_single_file, is_single_file, load_foreign_parts
from stages.adapters.deltas import compute_delta, find_rank, name_kind
from stages.adapters.foreign import KEY, Foreign
from stages.adapters.layouts import Adapter, Place, count_alike, sort_keys, word_numbers
from stages.base.components import Models
from stages.config.mistakes import UserError, enumerate_some
from stages.config.params import BaseParams

PART_NAMES = {"unet": "U-Net", "text_encoder": "text encoder", "vae": "VAE"}
WIDTHS = {768: "Stable Diffusion 1.x", 1024: "2.x", 1280: "XL's second encoder", 2048: "XL"}
"""Of the embeddings that the cross-attention reads."""
WORDS_OF_XL = {"clip_l", "clip_g"}


class Imported(NamedTuple):
    """What was found, ready to be applied.

    Attributes:
        kind: adapter, checkpoint or word.
        weights: By `part.layer.tensor` of an adapter, `part.tensor` of a checkpoint; a word's rows.
        applied: What is applied, in words, with counts.
    """

    kind: str
    weights: dict[str, Tensor]
    applied: str


def is_word(found: Foreign) -> bool:
    """Whether it is a textual-inversion embedding.

    Its only key is the word itself in diffusers' files, `emb_params` in AUTOMATIC1111's; weights of
    layers have dots in theirs.
    """
    return bool(found.tensors) and all("." not in key for key in found.tensors)


def convert(found: Foreign, models: Models, base: BaseParams, placeholder: str) -> Imported:
    """Make foreign weights ready for the base; a word gets the name `placeholder`.

    Raises:
        UserError: Something of it does not fit, is not finite, or has no effect.
    """
    _check_finite(found.tensors)
    parts = models.parts
    if found.is_pipeline:
        return _keep_changed(load_foreign_parts(found.path, base, models), parts)
    if is_word(found):
        return _convert_word(found, models, placeholder)
    if is_single_file(found.tensors):
        return _keep_changed(convert_single_file(found.tensors, models), parts)
    if not parts["unet"].state_dict().keys().isdisjoint(found.tensors):
        return _keep_changed({"unet": dict(found.tensors)}, parts, is_whole=False)
    del parts["vae"]
    return _convert_adapter(sort_keys(found.tensors, found.configs, parts), parts)


@torch.no_grad()
def apply_imported(
    kind: str, weights: Mapping[str, Tensor], models: Models, strength: float
) -> None:
    """Put an adapter or a checkpoint into the base: W + strength * dW."""
    parts = models.parts
    if kind == "checkpoint":
        states = {part: model.state_dict() for part, model in parts.items()}
        for name, tensor in weights.items():
            part, _, inner = name.partition(".")
            weight = states[part][inner]
            weight.lerp_(tensor.to(weight), strength)
        return
    for place, tensors in _group(weights).items():
        layer: Any = parts[place.part].get_submodule(place.layer)
        layer.weight.add_(compute_delta(tensors, layer.weight), alpha=strength)
        if "diff_b" in tensors:
            layer.bias.add_(tensors["diff_b"].to(layer.bias), alpha=strength)


def _group(weights: Mapping[str, Tensor]) -> Adapter:
    adapter: Adapter = {}
    for name, tensor in weights.items():
        layer, _, role = name.rpartition(".")
        adapter.setdefault(Place(*layer.split(".", 1)), {})[role] = tensor
    return adapter


def _convert_adapter(adapter: Adapter, parts: Mapping[str, nn.Module]) -> Imported:
    idle = [place for place, tensors in adapter.items() if not _has_effect(place, tensors, parts)]
    if len(idle) == len(adapter):
        raise UserError(
            f"{KEY}: the effect is exactly zero in all {len(adapter)} modules: "
            f"{enumerate_some([place.layer for place in idle])}; it was saved before it was "
            "trained, or the trained part was left out"
        )
    kinds = dict.fromkeys(name_kind(set(tensors)) for tensors in adapter.values())
    ranks = [rank for tensors in adapter.values() if (rank := find_rank(tensors))]
    alphas = [tensors["alpha"].item() for tensors in adapter.values()]
    scales = [f", {word_numbers('rank', ranks)}, {word_numbers('alpha', alphas)}"] if ranks else []
    adapted = {place.part for place in adapter}
    on = " and ".join(name for part, name in PART_NAMES.items() if part in adapted)
    dora = any({"magnitude", "dora_scale"} & set(tensors) for tensors in adapter.values())
    without = f"; {len(idle)} of them have no effect" if idle else ""
    weights = {
        f"{place.part}.{place.layer}.{role}": tensor
        for place, tensors in adapter.items()
        for role, tensor in tensors.items()
        if role != "alpha"
    }
    return Imported(
        "adapter",
        weights,
        f"{' and '.join(kinds)}{' with DoRA' if dora else ''}: {len(adapter)} of "
        f"{count_alike(adapter, parts)} modules{''.join(scales)}, on {on}{without}",
    )


def _has_effect(
    place: Place, tensors: Mapping[str, Tensor], parts: Mapping[str, nn.Module]
) -> bool:
    """Whether a layer's weight changes, once its tensors are known to fit.

    Raises:
        UserError: They don't.
    """
    weight: Any = parts[place.part].get_submodule(place.layer).weight
    try:
        delta = compute_delta(tensors, weight)
    except (RuntimeError, ValueError):
        raise UserError(_word_width(place, tensors, weight)) from None
    if not delta.isfinite().all():
        raise UserError(
            f"{KEY}: what {place.layer} would become is not finite; the training diverged, or "
            "half precision overflowed: take an earlier checkpoint of it"
        )
    return bool(delta.any()) or "diff_b" in tensors


def _word_width(place: Place, tensors: Mapping[str, Tensor], weight: Tensor) -> str:
    sizes = {name: tuple(t.shape) for name, t in tensors.items() if t.ndim}
    reads = next((t.shape[1] for name, t in tensors.items() if name == "down"), None)
    made_for = f": it was made for {WIDTHS[reads]}" if reads in WIDTHS else ""
    return (
        f"{KEY}: {place.layer} of the base is {tuple(weight.shape)}, which {sizes} do not fit; the "
        f"file was made for a base of another width{made_for}"
    )


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    broken = [k for k, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise UserError(
            f"{KEY}: {len(broken)} of {len(tensors)} tensors are not finite: "
            f"{enumerate_some(broken)}; the training diverged, or half precision overflowed: take "
            "an earlier checkpoint of it"
        )


def _convert_word(found: Foreign, models: Models, placeholder: str) -> Imported:
    keys = sorted(found.tensors)
    if len(keys) != 1:
        of_xl = " of Stable Diffusion XL, one for each of its encoders" * (set(keys) == WORDS_OF_XL)
        raise UserError(
            f"{KEY}: found {len(keys)} embeddings{of_xl}: {enumerate_some(keys)}; should be one"
        )
    rows = torch.atleast_2d(found.tensors[keys[0]].float())
    width = models.text_encoder.config.hidden_size
    if rows.shape[1] != width:
        base = f", that of {WIDTHS[rows.shape[1]]}" if rows.shape[1] in WIDTHS else ""
        raise UserError(
            f"{KEY}: the embedding {keys[0]} has vectors of {rows.shape[1]} values{base}, the "
            f"base's text encoder takes {width}; choose the base that it was trained on"
        )
    if not rows.any():
        raise UserError(f"{KEY}: the embedding {keys[0]} is all zeros; it was not trained")
    applied = f"embedding {keys[0]} as {placeholder}: {len(rows)} vectors of {width}"
    return Imported("word", {placeholder: rows}, applied)


def _keep_changed(
    states: Mapping[str, Mapping[str, Tensor]],
    parts: Mapping[str, nn.Module],
    is_whole: bool = True,
) -> Imported:
    """The tensors of a checkpoint that are not the base's, once all are known to fit."""
    kept: dict[str, Tensor] = {}
    counts = []
    for part, found in states.items():
        state = parts[part].state_dict()
        _check_names(found, state, PART_NAMES[part], is_whole)
        _check_finite(found)
        changed = {
            name: tensor.float()
            for name, tensor in found.items()
            if not torch.equal(tensor.to(state[name]), state[name])
        }
        kept |= {f"{part}.{name}": tensor for name, tensor in changed.items()}
        of_file = "" if is_whole else f" in the file, which has {len(found)}"
        counts.append(f"{len(changed)} of {len(state)} tensors of the {PART_NAMES[part]}{of_file}")
    return Imported("checkpoint", kept, f"checkpoint: {', '.join(counts)} differ from the base")


def _check_names(
    found: Mapping[str, Tensor], state: Mapping[str, Tensor], part: str, is_whole: bool
) -> None:
    strange, missing = sorted(found.keys() - state.keys()), sorted(state.keys() - found.keys())
    unequal = [n for n in found if n in state and found[n].shape != state[n].shape]
    if strange:
        raise UserError(
            f"{KEY}: {len(strange)} of {len(found)} tensors fit nothing in the base's {part}: "
            f"{enumerate_some(strange)}; another architecture"
        )
    if unequal:
        first = unequal[0]
        raise UserError(
            f"{KEY}: {len(unequal)} of {len(found)} tensors of the {part} are of another shape: "
            f"{enumerate_some(unequal)} ({first}: {tuple(found[first].shape)}, the base's "
            f"{tuple(state[first].shape)}); a base of another width"
        )
    if missing and is_whole:
        raise UserError(
            f"{KEY}: {len(missing)} of the {len(state)} tensors of the {part} are missing: "
            f"{enumerate_some(missing)}; the file was cut, or is of another architecture"
        )
