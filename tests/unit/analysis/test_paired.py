import numpy as np
import pandas as pd
import pytest

from stages.analysis.paired import (
    average_metrics,
    average_per_prompt,
    pair_metrics,
    pair_scores,
)
from stages.config.mistakes import UserError
from tests.unit.analysis.builders import FACTS, make_facts, make_scores

BOTH = {name: FACTS[name] for name in ("clip_cosine", "zero_shot_accuracy")}


def test_differences_are_finetuned_minus_baseline_of_the_same_picture():
    baseline = make_scores({"a": [0.1, 0.2], "b": [0.3, 0.6]})
    finetuned = make_scores({"a": [0.4, 0.2], "b": [0.2, 0.6]}).iloc[::-1]
    pairs = pair_scores(baseline, finetuned)
    np.testing.assert_allclose(pairs["difference"], [0.3, 0.0, -0.1, 0.0], atol=1e-12)
    assert pairs["is_correct_finetuned"].tolist() == [False, False, False, True]


def test_a_prompt_counts_once_whatever_its_number_of_pictures():
    baseline = make_scores({"a": [0.0, 0.0, 0.0], "b": [0.0]})
    pairs = pair_scores(baseline, make_scores({"a": [0.3, 0.3, 0.3], "b": [0.1]}))
    prompts = average_per_prompt(pairs)
    assert prompts["num_images"].tolist() == [3, 1]
    assert prompts["difference"].mean() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("finetuned", "message"),
    [
        (make_scores({"a": [0.1]}), "do not pair up"),
        (make_scores({"a": [0.1, 0.2, 0.3]}), "do not pair up"),
        (pd.concat([make_scores({"a": [0.1, 0.2]})] * 2), "twice"),
        (make_scores({"a": [0.1, np.nan]}), "picture 1 of a has no clip_cosine"),
    ],
)
def test_scores_that_do_not_pair_up_are_refused(finetuned, message):
    with pytest.raises(UserError, match=message):
        pair_scores(make_scores({"a": [0.1, 0.2]}), finetuned)


def test_metrics_are_paired_by_picture_whatever_the_order_of_rows():
    baseline = make_scores({"a": [0.1, 0.2], "b": [0.3, 0.6]})
    finetuned = make_scores({"a": [0.4, 0.7], "b": [0.2, 0.6]}).iloc[::-1]
    values = pair_metrics(baseline, finetuned, BOTH).set_index("metric")
    np.testing.assert_allclose(values.loc["clip_cosine", "difference"], [0.3, 0.5, -0.1, 0])
    assert values.loc["zero_shot_accuracy", "difference"].tolist() == [0, 1, 0, 0]


def test_metrics_are_averaged_by_prompt():
    baseline = make_scores({"a": [0.1, 0.2], "b": [0.3]})
    finetuned = make_scores({"a": [0.4, 0.7], "b": [0.2]})
    prompts = average_metrics(pair_metrics(baseline, finetuned, BOTH))
    assert prompts["prompt_id"].tolist() == ["a", "b", "a", "b"]
    assert prompts["metric"].tolist() == ["clip_cosine"] * 2 + ["zero_shot_accuracy"] * 2
    np.testing.assert_allclose(prompts["difference"], [0.4, -0.1, 0.5, 0])
    assert prompts["num_images"].tolist() == [2, 1, 2, 1]


def test_a_metric_without_any_number_in_a_set_is_left_out_there():
    scores = make_scores({"a": [0.1], "b": [0.2]}).assign(near=[0.5, np.nan])
    scores["set"] = ["in_domain", "marketing"]
    values = pair_metrics(
        scores, scores, {"clip_cosine": FACTS["clip_cosine"], **make_facts("near")}
    )
    assert values[["set", "metric"]].to_numpy().tolist() == [
        ["in_domain", "clip_cosine"],
        ["in_domain", "near"],
        ["marketing", "clip_cosine"],
    ]


def test_a_metric_with_a_number_missing_or_without_a_column_is_refused():
    scores = make_scores({"a": [0.1, 0.2]}).assign(near=[0.5, np.nan])
    with pytest.raises(UserError, match="picture 1 of a has no near"):
        pair_metrics(scores, scores, make_facts("near"))
    with pytest.raises(UserError, match="no column musiq for metric musiq; run `dvc repro score`"):
        pair_metrics(scores, scores, make_facts("musiq"))
