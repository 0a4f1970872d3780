import math
from typing import get_args

import pytest

from stages.config.notation import MINUS, MISSING
from stages.config.params import Method
from stages.reporting.words import (
    TRAINED,
    choose_digits,
    join_units,
    word_effect_size,
    word_remedy,
    word_sensitivity,
)

ROW = {"num_prompts": 50, "num_images": 200, "smallest_detectable_difference": 0.01312}


@pytest.mark.parametrize(
    ("effect_size", "expected"),
    [
        (0.1, "+0.10, negligible"),
        (-0.2, f"{MINUS}0.20, small"),
        (0.5, "+0.50, medium"),
        (-0.8, f"{MINUS}0.80, large"),
        (math.nan, MISSING),
    ],
)
def test_effect_sizes_have_their_usual_names_whatever_the_sign(effect_size, expected):
    assert word_effect_size(effect_size) == expected


def test_what_could_have_been_shown_names_prompts_pictures_and_difference():
    sentence = word_sensitivity(ROW)
    assert all(part in sentence for part in ("50 prompts", "200 pictures", "0.0131"))


@pytest.mark.parametrize("smallest", [math.nan, 0.0])
def test_without_spread_nothing_is_claimed_about_what_could_have_been_shown(smallest):
    assert word_sensitivity(ROW | {"smallest_detectable_difference": smallest}) == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0.63, -0.02), 4), ((0.0042,), 5), ((3.2, 0.1), 2), ((61.3,), 1), ((0.0,), 4)],
)
def test_decimals_follow_the_largest_number_of_a_row(values, expected):
    assert choose_digits(*values, math.nan) == expected


def test_numbers_stay_with_their_units():
    assert join_units("95 % of 3, p < 0.001") == "95\u202f% of 3, p\u00a0<\u00a00.001"


def test_each_method_has_words_for_what_it_trains():
    assert set(TRAINED) == {*get_args(Method), "import"}


@pytest.mark.parametrize(
    ("count", "seconds", "expected"), [(60, 0.4, "24 s"), (600, 0.4, "4 min"), (60_000, 0.4, "7 h")]
)
def test_too_little_data_comes_with_what_would_settle_it_here(count, seconds, expected):
    row = {"verdict": "too little data to say", "more_prompts": count}
    assert word_remedy(row, seconds).startswith(f"{count} more prompts of one picture")
    assert f"about {expected}, " in word_remedy(row, seconds)
    assert word_remedy(row | {"verdict": "better"}, seconds) == ""
    assert word_remedy(row | {"more_prompts": math.nan}, seconds) == ""
