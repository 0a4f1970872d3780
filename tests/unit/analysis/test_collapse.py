import pytest

from stages.analysis.collapse import count_collapse, list_collapsed, word_collapse
from tests.unit.analysis.builders import make_scores

NONE = {
    "num_images": 380,
    "num_black": 0,
    "num_flat": 0,
    "num_non_finite": 0,
    "num_duplicates": 0,
}


def describe_set(before: float, after: float) -> dict:
    return {
        "set": "in_domain",
        "zero_shot_accuracy_baseline": before,
        "zero_shot_accuracy_finetuned": after,
    }


RECOGNISED = [describe_set(0.9, 0.8)]


FLAGS = {
    "is_black": [True, False, False, False, False],
    "is_flat": [True, True, False, False, False],
    "is_finite": [True, True, False, True, True],
    "is_duplicate": [False, True, False, True, False],
}
SCORES = make_scores({"a": [0.1] * 5}).assign(**FLAGS)


def test_a_picture_that_is_bad_twice_is_one_bad_picture_but_counts_in_each_kind():
    assert count_collapse(SCORES) == {
        "num_images": 5,
        "num_black": 1,
        "num_flat": 2,
        "num_non_finite": 1,
        "num_duplicates": 2,
        "num_bad": 3,
    }


def test_collapsed_pictures_are_all_listed_with_every_reason():
    table = list_collapsed(SCORES)
    assert table["index"].tolist() == [0, 1, 2, 3]
    reasons = ["black, flat", "flat, duplicated", "not finite", "duplicated"]
    assert table["reason"].tolist() == reasons
    assert list_collapsed(SCORES[4:]).empty


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
    sentence = word_collapse(NONE, NONE | {name: 7}, RECOGNISED)
    assert sentence.startswith("Collapse: ")
    assert f"7 {word} (0)" in sentence


def test_what_the_baseline_has_as_well_is_counted_but_is_no_collapse():
    sentence = word_collapse(NONE | {"num_flat": 3}, NONE | {"num_flat": 2}, RECOGNISED)
    assert sentence.startswith("No collapse")
    assert "2 flat (3)" in sentence
    assert word_collapse(NONE | {"num_flat": 3}, NONE | {"num_flat": 4}, RECOGNISED).startswith(
        "Collapse"
    )


def test_without_bad_fine_tuned_pictures_nothing_is_said():
    assert word_collapse(NONE | {"num_flat": 3}, NONE, RECOGNISED) == ""


def test_noise_is_named_by_what_is_no_longer_recognised():
    sentence = word_collapse(NONE, NONE, [describe_set(0.9, 0.1)])
    assert sentence == "Collapse: zero-shot accuracy on in-domain prompts fell from 0.900 to 0.100."


def test_a_loss_of_less_than_half_is_no_collapse():
    assert word_collapse(NONE, NONE, [describe_set(0.9, 0.46)]) == ""
    assert word_collapse(NONE, NONE, [describe_set(0.0, 0.0)]) == ""
