import numpy as np
import pandas as pd
import pytest

from stages.analysis.resemblance import measure_resemblance, summarise_resemblance
from stages.config.params import CompareParams

PARAMS = CompareParams(
    confidence_level=0.95, num_resamples=1000, smallest_relevant_difference=0.01, seed=0
)


def test_equal_orthogonal_and_opposite_embeds_give_1_0_and_minus_1():
    embeds = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert measure_resemblance(embeds, embeds[:1]).tolist() == [1, 0, -1]


def test_it_is_the_mean_over_all_that_are_held_out():
    embeds = np.array([[1, 0], [0.6, 0.8]], np.float32)
    assert measure_resemblance(embeds[:1], embeds).tolist() == pytest.approx([0.8])


def test_prompts_weigh_alike_and_the_difference_is_finetuned_minus_baseline():
    pairs = pd.DataFrame(
        {
            "prompt_id": ["a", "a", "a", "b"],
            "baseline": [0.1, 0.2, 0.3, 0.6],
            "finetuned": [0.3, 0.4, 0.5, 0.6],
        }
    )
    values = summarise_resemblance(pairs, np.array([0.8, 0.9]), PARAMS)
    assert values["instance_similarity_baseline"] == pytest.approx(0.4)
    assert values["instance_similarity_finetuned"] == pytest.approx(0.5)
    assert values["instance_similarity_difference"] == pytest.approx(0.1)
    assert values["instance_similarity_real"] == pytest.approx(0.85)
    assert (values["num_instance_prompts"], values["num_instance_images"]) == (2, 4)


def test_eight_prompts_that_all_gain_reach_the_smallest_p_value():
    pairs = pd.DataFrame(
        {"prompt_id": list("abcdefgh"), "baseline": 0.5, "finetuned": np.linspace(0.6, 0.9, 8)}
    )
    values = summarise_resemblance(pairs, np.array([1.0]), PARAMS)
    assert values["instance_similarity_p_value"] == pytest.approx(2 / 2**8)
    assert 0 < values["instance_similarity_ci_low"] < values["instance_similarity_ci_high"]


def test_one_prompt_has_no_interval():
    pairs = pd.DataFrame({"prompt_id": ["a"], "baseline": [0.5], "finetuned": [0.6]})
    values = summarise_resemblance(pairs, np.array([1.0]), PARAMS)
    assert values["instance_similarity_ci_low"] is None
    assert values["instance_similarity_p_value"] == 1
