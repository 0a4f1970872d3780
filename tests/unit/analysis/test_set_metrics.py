import numpy as np
import pytest

from stages.analysis import distances
from stages.analysis.distances import DISTANCES, measure_diversity
from stages.analysis.set_metrics import (
    compare_distances,
    compare_diversity,
    leave_out,
    pair_embeds,
    take_pseudo_values,
)
from stages.config.mistakes import UserError
from tests.unit.analysis.builders import FACTS, PARAMS, compute_distance, make_scores

NUM_PROMPTS, NUM_IMAGES = 6, 3
PROMPTS = np.repeat(np.arange(NUM_PROMPTS), NUM_IMAGES)


def draw_embeds(num_rows: int, seed: int) -> np.ndarray:
    embeds = np.random.default_rng(seed).normal(size=(num_rows, 8))
    return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)


REFERENCE, BASELINE, FINETUNED = draw_embeds(40, 0), draw_embeds(18, 1), draw_embeds(18, 2)


@pytest.mark.parametrize("rows_at_once", [4, 256])
@pytest.mark.parametrize("distance", list(DISTANCES.values()))
def test_pseudo_values_are_those_of_leaving_each_prompt_out(distance, rows_at_once, monkeypatch):
    monkeypatch.setattr(distances, "ROWS_AT_ONCE", rows_at_once)
    left_out = (leave_out(PROMPTS, e, REFERENCE, distance)[1] for e in (BASELINE, FINETUNED))
    values = take_pseudo_values(*left_out) * distance.scale
    without = np.array(
        [
            compute_distance(FINETUNED[p != PROMPTS], REFERENCE, distance)
            - compute_distance(BASELINE[p != PROMPTS], REFERENCE, distance)
            for p in range(NUM_PROMPTS)
        ]
    )
    expected = (NUM_PROMPTS - 1) * (without.mean() - without)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


def make_pairs(reverse: bool = False):
    scores = make_scores({str(p): [0.1] * NUM_IMAGES for p in range(NUM_PROMPTS)})
    if reverse:
        return pair_embeds(scores, scores.iloc[::-1], BASELINE, FINETUNED[::-1])
    return pair_embeds(scores, scores, BASELINE, FINETUNED)


def test_embeds_follow_their_pictures_whatever_the_order_of_rows():
    np.testing.assert_array_equal(make_pairs(reverse=True).finetuned, FINETUNED)


def test_embeds_that_are_not_as_many_as_scores_are_refused():
    scores = make_scores({"a": [0.1]})
    with pytest.raises(UserError, match="finetuned: 1 scores, but 2 embeds"):
        pair_embeds(scores, scores, BASELINE[:1], FINETUNED[:2])


def test_a_distance_has_its_interval_around_the_difference_and_no_p_value():
    table = compare_distances(make_pairs(), REFERENCE, FACTS, PARAMS)
    assert table["metric"].tolist() == ["kid", "cmmd"]
    row = table.iloc[0]
    expected = compute_distance(FINETUNED, REFERENCE, DISTANCES["kid"])
    assert row["finetuned"] == pytest.approx(expected)
    assert row["difference"] == pytest.approx(row["finetuned"] - row["baseline"])
    assert (row["ci_low"] + row["ci_high"]) / 2 == pytest.approx(row["difference"])
    assert np.isnan(row["p_value"])


def test_two_prompts_of_one_picture_have_a_distance_without_an_interval():
    scores = make_scores({"a": [0.1], "b": [0.3]})
    pairs = pair_embeds(scores, scores, BASELINE[:2], FINETUNED[:2])
    row = compare_distances(pairs, REFERENCE, FACTS, PARAMS).iloc[0]
    assert np.isfinite(row["difference"])
    assert row[["ci_low", "ci_high"]].isna().all()


def test_equal_pictures_have_a_difference_of_exactly_zero():
    scores = make_scores({str(p): [0.1] * NUM_IMAGES for p in range(NUM_PROMPTS)})
    pairs = pair_embeds(scores, scores, BASELINE, BASELINE)
    table = compare_distances(pairs, REFERENCE, FACTS, PARAMS)
    assert (table[["difference", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (compare_diversity(pairs, FACTS)["difference"] == 0).all()


def test_only_metrics_that_the_facts_name_are_compared():
    table = compare_distances(make_pairs(), REFERENCE, {"cmmd": FACTS["cmmd"]}, PARAMS)
    assert table["metric"].tolist() == ["cmmd"]
    assert compare_diversity(make_pairs(), {}).empty


def test_a_prompt_with_one_picture_has_no_diversity():
    scores = make_scores({"a": [0.1, 0.2], "b": [0.3]})
    pairs = pair_embeds(scores, scores, BASELINE[:3], FINETUNED[:3])
    table = compare_diversity(pairs, FACTS)
    assert table["prompt_id"].tolist() == ["a"]
    assert table["baseline"].iloc[0] == pytest.approx(1 - BASELINE[0] @ BASELINE[1])


def test_diversity_is_zero_of_equal_pictures_and_one_of_orthogonal_ones():
    assert measure_diversity(np.eye(3)[[0, 0, 0]]) == pytest.approx(0)
    assert measure_diversity(np.eye(3)) == pytest.approx(1)
