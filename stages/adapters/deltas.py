"""What an adapter adds to a layer's weight: LoRA, LoHa and LoKr, with or without DoRA.

The tensors of a layer go by these names: `down`, `up` and `mid` (LoRA, Hu et al. 2021; `mid` in
Tucker's form), `hada_*` (LoHa, Hyeon-Woo et al. 2022), `lokr_*` (LoKr, Yeh et al. 2024), `diff`
(the difference itself); `scale`, usually alpha / rank; `magnitude` or `dora_scale` (DoRA, Liu et
al. 2024).
"""

from collections.abc import Mapping

import torch
from peft.tuners.loha.layer import make_weight, make_weight_cp
from peft.tuners.lokr.layer import make_kron
from peft.tuners.lokr.layer import make_weight_cp as make_factor_cp
from torch import Tensor

LORA, LOHA = {"up", "down"}, {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}


def name_kind(names: set[str]) -> str:
    """The kind of adapter whose tensors have these names; "" where some are missing."""
    if names >= LORA:
        return "LoRA"
    if names >= LOHA:
        return "LoHa"
    if all({f"lokr_w{i}"} <= names or {f"lokr_w{i}_a", f"lokr_w{i}_b"} <= names for i in (1, 2)):
        return "LoKr"
    return "difference" if "diff" in names else ""


def find_rank(tensors: Mapping[str, Tensor]) -> int | None:
    """The inner width; None where there is none: a difference, or LoKr's of two whole matrices."""
    for name in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if name in tensors:
            return tensors[name].shape[0]
    return None


@torch.no_grad()
def compute_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """What is to be added to a weight, (out, in) or (out, in, k, k), float32.

    Raises:
        RuntimeError: The shapes don't fit together, or not the weight.
    """
    device = weight.device
    values = {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}
    delta = (values["scale"] * _multiply_out(values)).reshape(weight.shape)
    if "magnitude" in values:
        return _rescale(weight + delta, values["magnitude"].flatten(), 0) - weight
    if "dora_scale" in values:
        # LyCORIS may keep lengths of the columns, (1, in), instead of those of the rows, (out, 1).
        lengths = values["dora_scale"]
        axis = 0 if len(lengths) == len(weight) else 1
        return _rescale(weight + delta, lengths.flatten(), axis) - weight
    return delta


def _multiply_out(values: Mapping[str, Tensor]) -> Tensor:
    kind = name_kind(set(values))
    if kind == "LoRA":
        up, down = values["up"].flatten(1), values["down"].flatten(1)
        if "mid" in values:
            return torch.einsum("oa,abkl,bi->oikl", up, values["mid"], down)
        return up @ down
    if kind == "LoHa":
        first, second = ((values[f"hada_w{i}_a"], values[f"hada_w{i}_b"]) for i in (1, 2))
        one = torch.ones((), device=first[0].device)
        if "hada_t1" in values:
            cores = values["hada_t1"], values["hada_t2"]
            return make_weight_cp(cores[0], *first, cores[1], *second, scale=one)
        return make_weight(*first, *second, scale=one)
    if kind == "LoKr":
        return make_kron(_factor(values, 1), _factor(values, 2))
    return values["diff"]


def _factor(values: Mapping[str, Tensor], number: int) -> Tensor:
    """A factor of the Kronecker product, whole or itself of two (or in Tucker's form three)."""
    name = f"lokr_w{number}"
    if name in values:
        return values[name]
    first, second = values[f"{name}_a"], values[f"{name}_b"]
    core = f"lokr_t{number}"
    return make_factor_cp(values[core], first, second) if core in values else first @ second


def _rescale(weight: Tensor, lengths: Tensor, axis: int) -> Tensor:
    """The weight with other lengths of its rows (axis 0) or columns (axis 1)."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    others = [i for i in range(weight.ndim) if i != axis]
    norms = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    return weight * (lengths.view(shape) / norms)
