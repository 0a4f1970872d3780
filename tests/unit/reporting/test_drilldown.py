import json

import numpy as np
import pandas as pd

from stages.reporting.drilldown import (
    choose_shown,
    describe_pictures,
    group_pictures,
    list_pictures,
)

BASELINE = pd.DataFrame(
    {
        "file_name": ["a0", "a1", "b0"],
        "prompt_id": ["a", "a", "b"],
        "prompt": ["a cat", "a cat", "a dog"],
        "index": [0, 1, 0],
        "clip_cosine": [0.1, 0.2, 0.3],
        "musiq": [60.0, np.nan, 50.0],
        "predicted_class": ["cat", "dog", "dog"],
    }
)
FINETUNED = BASELINE.assign(clip_cosine=[0.2, 0.1, 0.3], predicted_class="cat")


def test_variants_are_matched_by_file_and_not_by_place():
    pictures = list_pictures(BASELINE, FINETUNED.iloc[::-1], ["clip_cosine"])
    assert np.allclose(pictures["difference"], [0.1, -0.1, 0])
    assert pictures["scores"].tolist() == [[(0.1, 0.2)], [(0.2, 0.1)], [(0.3, 0.3)]]


def test_every_picture_is_described_with_both_scores_and_what_is_no_number_is_null():
    pictures = list_pictures(BASELINE, FINETUNED, ["clip_cosine", "musiq"])
    labels = {"clip_cosine": "CLIP cosine", "musiq": "MUSIQ"}
    described = describe_pictures(pictures, labels, {"a0": 1, "a1": 2**63 + 1, "b0": 3})
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["metrics"] == ["CLIP cosine", "MUSIQ"]
    picture = described["pictures"]["a1"]
    assert picture["scores"] == [[0.2, 0.1], [None, None]]
    assert picture["seed"] == "9223372036854775809"  # more than a JavaScript number can tell
    assert picture["seen"] == ["dog", "cat"]
    assert described["prompts"][described["pictures"]["b0"]["prompt"]] == "a dog"


def test_every_picture_is_under_its_prompt():
    groups = group_pictures(list_pictures(BASELINE, FINETUNED, []))
    assert {name: len(rows) for name, rows in groups.items()} == {"a": 2, "b": 1}


def list_names(num_prompts, num_each):
    names = [(f"p{p}", f"p{p}_{i}") for p in range(num_prompts) for i in range(num_each)]
    return pd.DataFrame(names, columns=["prompt_id", "file_name"])


def test_all_pictures_are_shown_where_they_fit():
    pictures = list_names(3, 2)
    assert choose_shown(pictures, 6, set()) is pictures


def test_of_too_many_pictures_each_prompt_shows_as_many_as_the_next():
    shown = choose_shown(list_names(4, 3), 6, set())
    assert shown["file_name"].tolist() == ["p0_0", "p0_1", "p1_0", "p2_0", "p2_1", "p3_0"]


def test_of_too_many_prompts_those_shown_are_spread_evenly():
    shown = choose_shown(list_names(10, 2), 2, set())
    assert shown["file_name"].tolist() == ["p0_0", "p5_0"]


def test_a_picture_that_the_page_names_is_always_shown():
    shown = choose_shown(list_names(10, 2), 2, {"p9_1"})
    assert shown["file_name"].tolist() == ["p0_0", "p5_0", "p9_1"]
