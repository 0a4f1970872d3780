"""Pictures that do not pair: what is computed from them, and how often that is right."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.analysis.design import measure_spread
from stages.analysis.given_prompts import judge_given_prompts
from stages.analysis.independent import average_side_metrics, average_sides, draw_scores
from stages.analysis.paired import average_per_prompt, pair_scores
from stages.analysis.resampling import bootstrap_interval
from stages.analysis.tables import compare_classes, compare_prompts, compare_sets
from stages.config.mistakes import UserError
from tests.unit.analysis.builders import FACTS, PARAMS, make_scores

NUM_DRAWS = 2000
SAMPLING_ERROR = 2 * (0.05 * 0.95 / NUM_DRAWS) ** 0.5
QUICK = PARAMS.model_copy(update={"num_resamples": 400})
NUM_FAMILIES = 200
SHAPES = {
    "5 x 4": (5, [4], [4]),
    "12 x 2": (12, [2], [2]),
    "24 x 6": (24, [6], [6]),
    "40 x 1": (40, [1], [1]),
    "1 x 30": (1, [30], [30]),
    "12 x 2 and 6": (12, [2], [6]),
    "12 x 2 to 4 and 3 to 8": (12, [2, 3, 4], [3, 5, 8]),
    "40 x 1 and 4": (40, [1], [4]),
}
"""Prompts, and how many pictures of each there are on both sides, by turns."""
BASELINE = {"p0": [0.1, 0.3], "p1": [0.5, 0.7, 0.9]}
FINETUNED = {"p0": [0.4, 0.5, 0.9], "p1": [0.8, 0.6]}


def test_a_prompts_difference_is_that_of_its_means() -> None:
    prompts = average_sides(make_scores(BASELINE), make_scores(FINETUNED))
    assert prompts["prompt_id"].tolist() == ["p0", "p1"]
    assert prompts["difference"].tolist() == pytest.approx([0.6 - 0.2, 0.7 - 0.7])
    assert prompts["num_images"].tolist() == [2, 2]
    assert prompts["is_correct_finetuned"].tolist() == pytest.approx([1 / 3, 1])
    draws = draw_scores(make_scores(BASELINE), make_scores(FINETUNED))
    sums = draws.groupby(["prompt_id", "side"])["difference"].mean().groupby("prompt_id").sum()
    assert sums.tolist() == pytest.approx(prompts["difference"].tolist())


def test_the_interval_on_these_prompts_adds_up_both_sides_variances() -> None:
    """Worked out by hand: s^2 / K of four samples, and the degrees of freedom of record 27."""
    draws = draw_scores(make_scores(BASELINE), make_scores(FINETUNED))
    (found,) = judge_given_prompts(draws, "class", PARAMS).to_dict("records")
    parts = [0.02 / 2, 0.04 / 3, 0.07 / 3, 0.02 / 2]
    error = math.sqrt(sum(parts)) / 2
    sizes = [2, 3, 3, 2]
    freedom = sum(parts) ** 2 / sum(v**2 / k for v, k in zip(parts, sizes, strict=True)) - 1
    half = stats.t.ppf(0.975, freedom) * error
    assert [found["ci_low"], found["ci_high"]] == pytest.approx([0.2 - half, 0.2 + half])
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(0.2 / error, freedom))


def test_one_picture_a_prompt_on_each_side_is_compared_as_if_paired_by_prompt() -> None:
    rng = np.random.default_rng(0)
    sides = [make_scores({f"p{n}": [rng.random()] for n in range(20)}) for _ in range(2)]
    pairs, draws = pair_scores(*sides), draw_scores(*sides)
    paired, found = average_per_prompt(pairs), average_sides(*sides)
    pd.testing.assert_frame_equal(
        compare_sets(pairs, paired, PARAMS), compare_sets(draws, found, PARAMS)
    )
    classes = compare_classes(draws, found, PARAMS)
    assert classes["given_prompts_verdict"].tolist() == ["too little data to say"]
    assert math.isnan(classes["given_prompts_ci_low"].item())
    assert compare_prompts(draws, found, PARAMS)["ci_low"].isna().all()


def test_the_order_of_either_sides_rows_changes_nothing() -> None:
    first, second = make_scores(BASELINE), make_scores(FINETUNED)
    shuffled = second.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(average_sides(first, second), average_sides(first, shuffled))


def test_metrics_are_averaged_side_by_side() -> None:
    facts = {name: FACTS[name] for name in ("clip_cosine", "zero_shot_accuracy")}
    metrics = average_side_metrics(make_scores(BASELINE), make_scores(FINETUNED), facts)
    assert metrics["metric"].tolist() == ["clip_cosine"] * 2 + ["zero_shot_accuracy"] * 2
    assert metrics["difference"].tolist() == pytest.approx([0.4, 0.0, 1 / 3, 1 / 3])


def test_a_prompt_on_one_side_only_is_refused() -> None:
    with pytest.raises(UserError, match="not of the same prompts: p1 is on one side only"):
        draw_scores(make_scores(BASELINE), make_scores({"p0": [0.5]}))


def test_the_spread_of_independent_pictures_is_that_of_both_sides() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.3, 500)
    sides = [
        make_scores({f"p{n}": list(middle + rng.normal(0, sd, size)) for n, middle in enumerate(m)})
        for m, sd, size in ((np.zeros(500), 0.3, 3), (truth, 0.4, 5))
    ]
    spread = measure_spread(draw_scores(*sides))
    assert spread.pictures == pytest.approx(0.5, rel=0.05)
    assert spread.prompts == pytest.approx(0.3, rel=0.1)


def draw_normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(0, 1, count)


def draw_skewed(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.exponential(1, count) - 1


def draw_heavy_tailed(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.standard_t(3, count)


def draw_zero_or_one(rng: np.random.Generator, count: int) -> np.ndarray:
    return (rng.random(count) < 0.6) - 0.6


def simulate(shape: str, draw: object, seed: int) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Differences of prompts, (N, P); draws of N experiments; the mean true difference of each.

    Prompts have effects that both sides share, and true differences of their own.
    """
    rng = np.random.default_rng(seed)
    num_prompts, *counts = SHAPES[shape]
    effects = rng.normal(0, 1, (NUM_DRAWS, num_prompts))
    truth = rng.normal(0, 0.5, (NUM_DRAWS, num_prompts))
    differences, tables = np.zeros_like(truth), []
    for sign, side, own in ((-1, "baseline", effects), (1, "finetuned", effects + truth)):
        sizes = np.tile(np.resize(counts[sign > 0], num_prompts), NUM_DRAWS)
        rows = np.repeat(np.arange(own.size), sizes)
        values = sign * (own.ravel()[rows] + draw(rng, len(rows)))
        table = pd.DataFrame({"class": rows // num_prompts, "prompt_id": rows, "side": side})
        tables.append(table.assign(difference=values))
        differences += np.bincount(rows, values).reshape(own.shape) / sizes.reshape(own.shape)
    return differences, pd.concat(tables, ignore_index=True), truth.mean(axis=1)


@pytest.mark.thorough
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("draw", [draw_normal, draw_skewed, draw_heavy_tailed, draw_zero_or_one])
def test_95_percent_intervals_cover_in_93_to_97_percent(draw: object, shape: str) -> None:
    differences, draws, truth = simulate(shape, draw, seed=7)
    limits = []
    if len(differences[0]) > 1:
        limits.append((np.array([bootstrap_interval(d, QUICK) for d in differences]), 0))
    if min(map(min, SHAPES[shape][1:])) > 1:
        parts = [draws[draws["class"] // 500 == part] for part in range(NUM_DRAWS // 500)]
        found = pd.concat([judge_given_prompts(part, "class", QUICK) for part in parts])
        limits.append((found[["ci_low", "ci_high"]].loc[range(NUM_DRAWS)].to_numpy(), truth))
    for ends, true in limits:
        coverage = np.mean((ends[:, 0] <= true) & (true <= ends[:, 1]))
        assert 0.93 - SAMPLING_ERROR <= coverage <= 0.97 + SAMPLING_ERROR


@pytest.mark.thorough
@pytest.mark.parametrize("shape", ["5 x 4", "12 x 2"])
def test_ten_classes_without_a_difference_raise_a_false_alarm_in_under_5_percent(
    shape: str,
) -> None:
    _, draws, truth = simulate(shape, draw_normal, seed=1)
    draws["difference"] -= (draws["side"] == "finetuned") * truth[draws["class"]]
    families = [draws[draws["class"] // 10 == family] for family in range(NUM_FAMILIES)]
    found = [judge_given_prompts(family, "class", QUICK)["p_value_holm"] for family in families]
    assert np.mean([(p_values < 0.05).any() for p_values in found]) < 0.05 + SAMPLING_ERROR
