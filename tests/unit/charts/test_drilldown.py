import json

import numpy as np
import pandas as pd

from stages.charts.drilldown import describe_pictures, group_pictures, list_pictures

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
    described = describe_pictures(pictures, {"clip_cosine": "CLIP cosine", "musiq": "MUSIQ"})
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["metrics"] == ["CLIP cosine", "MUSIQ"]
    picture = described["pictures"]["a1"]
    assert picture["scores"] == [[0.2, 0.1], [None, None]]
    assert picture["seen"] == ["dog", "cat"]
    assert described["prompts"][described["pictures"]["b0"]["prompt"]] == "a dog"


def test_every_picture_is_under_its_prompt():
    groups = group_pictures(list_pictures(BASELINE, FINETUNED, []))
    assert {name: len(rows) for name, rows in groups.items()} == {"a": 2, "b": 1}
