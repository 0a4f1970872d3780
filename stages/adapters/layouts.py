"""The layouts of adapter files: which part of the base, which layer and which tensor a key means.

Every layer of the base is looked up under each name that trainers give it, in the layouts of
kohya's sd-scripts and LyCORIS, of diffusers (old and new) and of peft. So no key is guessed at, and
one that fits nothing is seen.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from stages.adapters.deltas import find_rank, name_kind
from stages.config.mistakes import UserError, enumerate_some

KEY = "import.path"
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
CLIP = "text_model."
"""In front of a text encoder's names, but for transformers 5."""
ROLES = {
    "down": r"lora_down|lora\.down|lora_linear_layer\.down|lora_A",
    "up": r"lora_up|lora\.up|lora_linear_layer\.up|lora_B",
    "mid": r"lora_mid",
    "magnitude": r"lora_magnitude_vector",
    "own": r"alpha|dora_scale|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t[12])|diff|diff_b",
}
_ROLE = re.compile(
    rf"\.(?:{'|'.join(f'(?P<{role}>{names})' for role, names in ROLES.items())})"
    r"(?:\.default)?(?:\.weight)?$"
)
REFUSED = {
    "OFT or BOFT": r"b?oft_",
    "(IA)^3": r"ia3_|\.on_input$",
    "GLoRA": r"\.[ab][12]\.weight$|glora_",
    "VeRA": r"vera_",
    "LyCORIS's of norm layers": r"\.[wb]_norm$",
    "LoRA with a bias of its own": r"lora_(up|down|[AB])(\.default)?\.bias$",
    "LoRA of the token embedding": r"lora_embedding_",
    "an embedding bundled with an adapter": r"^bundle_emb\.",
}
"""Kinds of adapter that are not read, and what their keys hold."""
OTHER_BASES = {
    "Stable Diffusion XL": r"lora_te[12]_|text_encoder_2|conditioner\.|add_embedding|"
    r"lora_unet_(input|middle|output)_blocks?_",
    "a transformer such as Flux": r"transformer\.|double_blocks|single_blocks|diffusion_model\.|"
    r"lora_transformer_|joint_",
}
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Starts of peft's `init_lora_weights` that change the base's own weights, too."""


class Place(NamedTuple):
    """A layer: the part of the base, and the name in it."""

    part: str
    layer: str


Adapter = dict[Place, dict[str, Tensor]]
"""The tensors of each layer, by the names of `deltas`."""


def sort_keys(
    tensors: Mapping[str, Tensor],
    configs: Mapping[str, Mapping[str, Any]],
    parts: Mapping[str, nn.Module],
) -> Adapter:
    """Sort the tensors of a file by layer, with a `scale` each, and `alpha` for show.

    Args:
        tensors: As they are in the file.
        configs: peft's config of each part, or of "" where the file does not name the part.
        parts: The base's U-Net and text encoder.

    Raises:
        UserError: Keys fit nothing, or tensors are missing; with counts, and the first of them.
    """
    names = dict(_name_layers(parts))
    adapter: Adapter = {}
    strange = []
    for key, tensor in _modernise(tensors).items():
        match = _ROLE.search(key)
        place = names.get(key[: match.start()]) if match else None
        if match is None or place is None:
            strange.append(key)
            continue
        role = match.lastgroup if match.lastgroup != "own" else match["own"]
        adapter.setdefault(place, {})[str(role)] = tensor
    if strange:
        raise UserError(
            f"{KEY}: {len(strange)} of {len(tensors)} keys fit nothing in the base: "
            f"{enumerate_some(strange)}; {_guess_cause(strange)}"
        )
    _check_whole(adapter)
    for place, roles in adapter.items():
        config = configs.get(place.part, configs.get("", {}))
        _resolve_scale(roles, config, place.layer)
    for part in dict.fromkeys(place.part for place in adapter):
        _check_targets(adapter, configs.get(part, configs.get("", {})), part, parts[part])
    return adapter


def list_layers(part: nn.Module) -> dict[str, nn.Module]:
    """The layers that can be adapted, by name."""
    return {n: m for n, m in part.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def count_alike(adapter: Adapter, parts: Mapping[str, nn.Module]) -> int:
    """How many layers of the base are of the kinds that are adapted, such as `attn2.to_k`."""
    kinds = {(place.part, _name_sort(place.layer)) for place in adapter}
    layers = [(part, _name_sort(n)) for part, model in parts.items() for n in list_layers(model)]
    return sum(layer in kinds for layer in layers)


def _name_sort(layer: str) -> str:
    """The last two words of a layer's name: the same in every block."""
    words = [word for word in layer.split(".") if not word.isdigit()]
    return ".".join(words[-2:])


def _name_layers(parts: Mapping[str, nn.Module]) -> Iterator[tuple[str, Place]]:
    for part, model in parts.items():
        for layer in list_layers(model):
            place = Place(part, layer)
            bare = layer.removeprefix(CLIP)
            for name in {layer, bare, f"{CLIP}{bare}"} if part == "text_encoder" else {layer}:
                yield KOHYA[part] + name.replace(".", "_"), place
                for before in ("", "base_model.model."):
                    yield f"{before}{name}", place
                    yield f"{part}.{before}{name}", place


def _modernise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys of diffusers' first layout, `to_q_lora.down`, as it has them now."""
    old = {key: tensor for key, tensor in tensors.items() if re.search(r"to_\w+_lora\.", key)}
    text = {key: tensor for key, tensor in old.items() if "self_attn" in key}
    unet = {key: tensor for key, tensor in old.items() if key not in text}
    new = {key: tensor for key, tensor in tensors.items() if key not in old}
    new |= convert_unet_state_dict_to_peft(unet)
    return new | convert_state_dict_to_peft(text, StateDictType.DIFFUSERS_OLD)


def _guess_cause(keys: Iterable[str]) -> str:
    for kind, pattern in REFUSED.items():
        if any(re.search(pattern, key) for key in keys):
            return f"this is {kind}, which is not read; docs/import.md lists what is"
    for base, pattern in OTHER_BASES.items():
        if any(re.search(pattern, key) for key in keys):
            return f"the file was made for {base}; choose a base that it was trained on"
    return "another architecture, or an unknown layout; docs/import.md lists those that are known"


def _check_whole(adapter: Adapter) -> None:
    """Refuse layers that lack a tensor."""
    halves = [place for place, roles in adapter.items() if not name_kind(set(roles))]
    if halves:
        first = halves[0]
        found = enumerate_some(sorted(adapter[first]))
        raise UserError(
            f"{KEY}: {len(halves)} of {len(adapter)} modules are incomplete: "
            f"{enumerate_some([place.layer for place in halves])} (of {first.layer} there is only "
            f"{found}); the file was cut, or keys were dropped"
        )


def _resolve_scale(roles: dict[str, Tensor], config: Mapping[str, Any], layer: str) -> None:
    """Put `scale` in, from the file's alpha, peft's config, or else alpha equal to the rank."""
    rank = find_rank(roles)
    if config:
        alpha = _find_pattern(config, "alpha_pattern", layer)
        alpha = float(alpha or config.get("lora_alpha") or config.get("alpha") or rank or 1)
        rank = rank or _find_pattern(config, "rank_pattern", layer) or config.get("r")
    else:
        alpha = roles["alpha"].item() if "alpha" in roles else float(rank or 1)
    inner = math.sqrt(rank or 1) if config.get("use_rslora") else (rank or 1)
    # LyCORIS heeds no alpha where there is no rank, but peft does, by the rank of its config.
    scale = alpha / inner if rank else 1.0
    roles |= {"alpha": torch.tensor(alpha), "scale": torch.tensor(scale)}


def _find_pattern(config: Mapping[str, Any], key: str, layer: str) -> Any:
    """What a pattern of peft's config says of a layer; None if it says nothing."""
    patterns = config.get(key) or {}
    return patterns.get(get_pattern_key(list(patterns), layer))


def _check_targets(
    adapter: Adapter, config: Mapping[str, Any], part: str, model: nn.Module
) -> None:
    """Refuse an adapter that lacks what its config names, or whose base was changed as well."""
    init = str(config.get("init_lora_weights", "")).lower()
    if init.startswith(CHANGES_BASE):
        raise UserError(
            f"{KEY}: init_lora_weights is {init}, which changed the base, too; save the adapter "
            "anew as peft's guide has it (path_initial_model_for_weight_conversion)"
        )
    narrowed = ("exclude_modules", "layers_to_transform", "layers_pattern")
    targets = config.get("target_modules") or ()
    if isinstance(targets, str) or any(config.get(key) for key in narrowed):
        return  # a pattern, or a choice of blocks
    expected = [n for n in list_layers(model) if _is_named(n, targets)]
    missing = [n for n in expected if Place(part, n) not in adapter]
    if missing:
        raise UserError(
            f"{KEY}: {len(missing)} of {len(expected)} modules that its target_modules name are "
            f"missing: {enumerate_some(missing)}; the file was cut, or keys were dropped"
        )


def _is_named(layer: str, targets: Sequence[str]) -> bool:
    return any(layer == target or layer.endswith(f".{target}") for target in targets)


def word_numbers(what: str, values: Iterable[float]) -> str:
    """`rank 16`, or `rank 4 to 32` where layers differ."""
    counts = Counter(values)
    low, high = min(counts), max(counts)
    return f"{what} {low:g}" if low == high else f"{what} {low:g} to {high:g}"
