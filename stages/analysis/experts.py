"""Whether experts specialise: what the class of a prompt tells of the experts its tokens go to.

Mutual information between class and expert, in bits. A router that was never trained tells classes
apart as well, as their tokens differ. So what counts is what training added: each router is judged
beside what it was at the start, on the same tokens.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.config.notation import format_count, format_number, format_p_value, word_set
from stages.config.params import CompareParams

START = ".start"
"""After the name of a layer: its router as it was before training."""
MAX_SWAPS = 1000
"""Of the permutation test, whatever `compare.num_resamples`: each looks at all layers."""
ROUNDING = 1e-12


class ExpertUse(NamedTuple):
    """Which experts tokens go to, and whether that depends on the class.

    Attributes:
        by_group: Columns group (an in-domain class, or all prompts of another set), layer, expert
            (from 1), weight (its mean, 0 to 1) and deviation from that of all in-domain prompts.
        by_layer: Columns layer, information, information_at_start and entropy of the experts' mean
            weights, all in bits; most information first.
        num_experts: N; no number in bits is above its logarithm.
        sentence: Whether they specialise.
    """

    by_group: pd.DataFrame
    by_layer: pd.DataFrame
    num_experts: int
    sentence: str


def measure_experts(samples: pd.DataFrame, params: CompareParams) -> ExpertUse | None:
    """Judge the experts of the sampled pictures; None without any, and where each is alone.

    Args:
        samples: Columns set, class, prompt_id and experts; of a picture, the mean weights (N,) by
            layer, and by the layer's name with `START` those of the router at the start.
        params: Confidence level and seed.
    """
    if "experts" not in samples:
        return None
    names = list(samples["experts"].iloc[0])
    layers = [name for name in names if not name.endswith(START)]
    # A prompt is a unit: its pictures are averaged. Those of a class stand together.
    prompts = samples.groupby("prompt_id", sort=False)[["set", "class"]].first()
    weights = _average(samples, layers, prompts.index)
    at_start = _average(samples, [f"{layer}{START}" for layer in layers], prompts.index)
    num_experts = weights.shape[-1]
    if num_experts == 1:
        return None
    is_in_domain = (prompts["set"] == "in_domain").to_numpy()
    classes, number = np.unique(prompts["class"][is_in_domain], return_inverse=True)
    order = np.flatnonzero(is_in_domain)[np.argsort(number, kind="stable")]
    firsts = np.searchsorted(np.sort(number), range(len(classes)))
    found = [measure_information(part[order], firsts) for part in (weights, at_start)]
    by_layer = pd.DataFrame(
        {
            "layer": layers,
            "information": found[0],
            "information_at_start": found[1],
            "entropy": _measure_entropy(weights[order].mean(axis=0)),
        }
    ).sort_values("information", ascending=False, kind="stable", ignore_index=True)
    if len(classes) == 1:
        sentence = "All in-domain prompts are of one class, so there is none to specialise in."
    else:
        p_value = compare_with_start(weights[order], at_start[order], firsts, params.seed)
        counts = f"{len(order)} prompts of {len(classes)} classes"
        is_shown = p_value < 1 - params.confidence_level
        sentence = _word(by_layer, num_experts, is_shown, f"p {format_p_value(p_value)}, {counts}")
    return ExpertUse(_list_groups(prompts, weights, layers), by_layer, num_experts, sentence)


def measure_information(weights: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """What the class tells of the expert, (L,), in bits: H(expert) - H(expert | class).

    Args:
        weights: (P, L, N), of prompts in the order of their classes.
        firsts: (C,), the first prompt of each class.
    """
    counts = np.diff([*firsts, len(weights)])
    means = np.add.reduceat(weights, firsts, axis=0) / counts[:, None, None]  # (C, L, N)
    remaining = np.average(_measure_entropy(means), axis=0, weights=counts)
    return _measure_entropy(weights.mean(axis=0)) - remaining


def compare_with_start(
    weights: np.ndarray, at_start: np.ndarray, firsts: np.ndarray, seed: int
) -> float:
    """How often chance would change the mean information as much as training did, two-sided.

    A permutation test: if training did nothing to the routers, it does not matter which of a
    prompt's two weights, (P, L, N) each, is called which.
    """
    rng, pair = np.random.default_rng(seed), np.stack([weights, at_start])
    rows = np.arange(len(weights))

    def measure_change(swaps: np.ndarray) -> float:
        one, other = (measure_information(pair[w, rows], firsts) for w in (swaps, 1 - swaps))
        return abs(float((one - other).mean()))

    change = measure_change(np.zeros(len(rows), dtype=int))
    drawn = rng.integers(0, 2, (MAX_SWAPS, len(rows)))
    num_as_large = sum(measure_change(swaps) >= change - ROUNDING for swaps in drawn)
    return (1 + num_as_large) / (1 + MAX_SWAPS)


def _average(samples: pd.DataFrame, names: list[str], prompt_ids: pd.Index) -> np.ndarray:
    """Mean weights (P, L, N) of each prompt, in the order of the ids."""
    rows = prompt_ids.get_indexer(samples["prompt_id"])
    weights = np.array([[of[name] for name in names] for of in samples["experts"]], dtype=float)
    total = np.zeros((len(prompt_ids), *weights.shape[1:]))
    np.add.at(total, rows, weights)
    return total / np.bincount(rows)[:, None, None]


def _measure_entropy(shares: np.ndarray) -> np.ndarray:
    """In bits, over the last axis, whose shares sum to 1."""
    return -(shares * np.log2(np.maximum(shares, np.finfo(float).tiny))).sum(axis=-1)


def _list_groups(prompts: pd.DataFrame, weights: np.ndarray, layers: list[str]) -> pd.DataFrame:
    is_in_domain = (prompts["set"] == "in_domain").to_numpy()
    others = [f"{word_set(name)} prompts" for name in prompts["set"]]
    names = np.where(is_in_domain, prompts["class"], others)
    groups = {name: weights[names == name].mean(axis=0) for name in dict.fromkeys(names)}
    usual = weights[is_in_domain].mean(axis=0)
    return pd.DataFrame(
        {
            "group": group,
            "layer": layer,
            "expert": expert + 1,
            "weight": mean[place, expert],
            "deviation": mean[place, expert] - usual[place, expert],
        }
        for group, mean in groups.items()
        for place, layer in enumerate(layers)
        for expert in range(weights.shape[-1])
    )


def _word(by_layer: pd.DataFrame, num_experts: int, is_shown: bool, test: str) -> str:
    found, at_start = by_layer[["information", "information_at_start"]].mean()
    if not is_shown:
        verdict = "It is not shown that training made experts specialise by class"
    elif found > at_start:
        verdict = "Training made experts specialise by class"
    else:
        verdict = "Training made experts tell classes apart less"
    return (
        f"{verdict}: the class of an in-domain prompt tells {format_number(found)} of "
        f"{format_number(math.log2(num_experts), 2)} bits of the expert that a token goes to, a "
        f"mean over {format_count(len(by_layer), 'layer')}; with the routers as they were before "
        f"training it is {format_number(at_start)} ({test})."
    )
