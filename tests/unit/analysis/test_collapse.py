import pandas as pd
import pytest

from stages.analysis.collapse import count_bad, count_collapse, word_collapse

NONE = {
    "num_images": 380,
    "num_black": 0,
    "num_flat": 0,
    "num_non_finite": 0,
    "num_duplicates": 0,
}


def test_a_picture_that_is_bad_twice_is_one_bad_picture_but_counts_in_each_kind():
    scores = pd.DataFrame(
        {
            "is_black": [True, False, False, False],
            "is_flat": [True, True, False, False],
            "is_finite": [True, True, False, True],
            "is_duplicate": [False, True, False, True],
        }
    )
    assert count_bad(scores) == 3
    assert count_collapse(scores) == {
        "num_images": 4,
        "num_black": 1,
        "num_flat": 2,
        "num_non_finite": 1,
        "num_duplicates": 2,
    }


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("num_black", "black"),
        ("num_flat", "flat"),
        ("num_non_finite", "not finite"),
        ("num_duplicates", "duplicated"),
    ],
)
def test_each_kind_of_collapse_is_named_with_its_count(name, word):
    sentence = word_collapse(NONE, NONE | {name: 7})
    assert sentence.startswith("Collapse: ")
    assert f"7 {word} (0)" in sentence


def test_what_the_baseline_has_as_well_is_counted_but_is_no_collapse():
    sentence = word_collapse(NONE | {"num_flat": 3}, NONE | {"num_flat": 2})
    assert sentence.startswith("No collapse")
    assert "2 flat (3)" in sentence
    assert word_collapse(NONE | {"num_flat": 3}, NONE | {"num_flat": 4}).startswith("Collapse")


def test_without_bad_fine_tuned_pictures_nothing_is_said():
    assert word_collapse(NONE | {"num_flat": 3}, NONE) == ""
