import numpy as np
import pandas as pd
import pytest

from stages.analysis.paired import average_per_prompt
from stages.analysis.results import (
    BY_CLASS_SCHEMA,
    BY_METRIC_SCHEMA,
    BY_PROMPT_SCHEMA,
    BY_SET_SCHEMA,
)
from stages.analysis.tables import (
    compare_classes,
    compare_metrics,
    compare_prompts,
    compare_sets,
    summarise,
)
from tests.unit.analysis.builders import PARAMS


@pytest.fixture
def pairs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        ("in_domain", name, f"{name} {number}", 4, 0.1)
        for name in ("cat", "dog")
        for number in range(5)
    ]
    rows += [("marketing", "mug", "a mug", 6, -0.1), ("marketing", "shoe", "a shoe", 6, -0.1)]
    return pd.DataFrame(
        {
            "file_name": f"{prompt}_{index}.png",
            "prompt_id": prompt,
            "set": set_name,
            "class": name,
            "prompt": prompt,
            "index": index,
            "baseline": 0.5,
            "finetuned": 0.5 + change,
            "difference": change,
            "is_correct_baseline": False,
            "is_correct_finetuned": index == 0,
        }
        for set_name, name, prompt, num_images, effect in rows
        for index in range(num_images)
        for change in [effect + rng.normal(0, 0.01)]
    )


def test_sets_are_judged_apart(pairs):
    table = compare_sets(pairs, average_per_prompt(pairs), PARAMS)
    assert table["verdict"].tolist() == ["better", "too little data to say"]  # p >= 0.5
    assert list(table.columns) == list(BY_SET_SCHEMA)
    assert table["num_images"].tolist() == [40, 12]


def test_classes_are_those_of_the_class_prompts(pairs):
    table = compare_classes(pairs, average_per_prompt(pairs), PARAMS)
    assert table["class"].tolist() == ["cat", "dog"]
    assert list(table.columns) == list(BY_CLASS_SCHEMA)
    assert table["p_value"].tolist() == table["smallest_p_value"].tolist() == [2 / 2**5] * 2
    assert table["zero_shot_accuracy_finetuned"].tolist() == [0.25, 0.25]


def test_interval_of_a_prompt_is_over_its_own_pictures(pairs):
    table = compare_prompts(pairs, average_per_prompt(pairs), PARAMS)
    assert list(table.columns) == list(BY_PROMPT_SCHEMA)
    own = pairs[pairs["prompt_id"] == "a mug"]["difference"]
    row = table.set_index("prompt_id").loc["a mug"]
    assert row["difference"] == pytest.approx(own.mean())
    assert row["ci_low"] < row["difference"] < row["ci_high"]


def test_null_experiment_gives_exact_zeros(pairs):
    same = pairs.assign(finetuned=pairs["baseline"], difference=0.0)
    same["is_correct_finetuned"] = same["is_correct_baseline"]
    table = compare_sets(same, average_per_prompt(same), PARAMS)
    assert table[["difference", "ci_low", "ci_high"]].to_numpy().tolist() == [[0.0] * 3] * 2
    assert table["verdict"].tolist() == ["no difference shown"] * 2
    assert table["p_value"].tolist() == [1.0, 1.0]


def test_summary_is_flat_short_and_without_nan(pairs):
    lonely = pairs[(pairs["set"] == "in_domain") | (pairs["class"] == "mug")]
    summary = summarise(compare_sets(lonely, average_per_prompt(lonely), PARAMS), 3)
    assert len(summary) == 10
    assert summary["in_domain_difference"] == pytest.approx(0.1, abs=0.01)
    assert summary["in_domain_low"] < summary["in_domain_difference"] < summary["in_domain_high"]
    assert summary["in_domain_verdict"] == "better"
    assert summary["in_domain_zero_shot_difference"] == pytest.approx(0.25)
    assert summary["marketing_verdict"] == "too_little_data"
    assert summary["marketing_low"] is None  # one prompt has no interval
    assert summary["bad_pictures"] == 3


def test_a_set_without_prompts_has_no_numbers_in_the_summary(pairs):
    in_domain = pairs[pairs["set"] == "in_domain"]
    summary = summarise(compare_sets(in_domain, average_per_prompt(in_domain), PARAMS), 0)
    missing = {name for name, value in summary.items() if value is None}
    assert missing == {f"marketing_{name}" for name in ("difference", "low", "high", "verdict")}


def test_classes_are_judged_by_p_values_adjusted_for_all_of_them(pairs):
    """Ten prompts of one sign: p = 2 / 2^10, twice that for two classes."""
    doubled = pairs.assign(prompt_id=pairs["prompt_id"] + " again")
    params = PARAMS.model_copy(update={"num_resamples": 1024})
    pairs = pd.concat([pairs, doubled])
    table = compare_classes(pairs, average_per_prompt(pairs), params)
    assert table["p_value"].tolist() == pytest.approx([2 / 2**10] * 2)
    assert table["p_value_holm"].tolist() == pytest.approx([4 / 2**10] * 2)
    assert table["verdict"].tolist() == ["better"] * 2


def test_five_prompts_a_class_say_nothing_of_others_but_are_judged_themselves(pairs):
    table = compare_classes(pairs, average_per_prompt(pairs), PARAMS)
    assert table["verdict"].tolist() == ["too little data to say"] * 2
    assert table["given_prompts_verdict"].tolist() == ["better"] * 2
    assert table["smallest_detectable_difference"].isna().all()


def test_metrics_are_compared_set_by_set(pairs):
    prompts = average_per_prompt(pairs).assign(metric="clip_cosine", direction="higher")
    table = compare_metrics(prompts, PARAMS)
    assert list(table.columns) == list(BY_METRIC_SCHEMA)
    assert table["set"].tolist() == ["in_domain", "marketing"]
    assert table["p_value_holm"].tolist() == table["p_value"].tolist()  # one metric a family
    by_set = compare_sets(pairs, average_per_prompt(pairs), PARAMS)
    shared = ["difference", "ci_low", "ci_high", "p_value", "effect_size"]
    pd.testing.assert_frame_equal(table[shared], by_set[shared])


def test_the_metrics_of_a_set_are_adjusted_for_each_other(pairs):
    prompts = average_per_prompt(pairs)
    metrics = [prompts.assign(metric=name, direction="higher") for name in ("a", "b", "c")]
    table = compare_metrics(pd.concat(metrics), PARAMS)
    in_domain = table[table["set"] == "in_domain"]
    assert in_domain["p_value_holm"].tolist() == pytest.approx((3 * in_domain["p_value"]).tolist())


def test_single_prompts_are_a_family_within_their_set(pairs):
    table = compare_prompts(pairs, average_per_prompt(pairs), PARAMS)
    factors = table.assign(factor=table["p_value_holm"] / table["p_value"]).groupby("set")["factor"]
    assert factors.max().to_dict() == pytest.approx({"in_domain": 10, "marketing": 2})
    assert set(table["verdict"][table["set"] == "marketing"]) == {"worse"}


def test_a_set_says_how_its_prompts_and_pictures_vary_and_how_many_would_settle_it(pairs):
    noisy = pairs.assign(difference=np.random.default_rng(1).normal(0, 0.05, len(pairs)))
    table = compare_sets(noisy, average_per_prompt(noisy), PARAMS).set_index("set")
    assert table.loc["in_domain", "sd_pictures"] == pytest.approx(0.05, rel=0.3)
    assert table.loc["in_domain", "sd_prompts"] < 0.03
    assert table.loc["in_domain", "more_prompts"] > 50
