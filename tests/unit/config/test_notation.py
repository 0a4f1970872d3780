import pytest

from stages.config.notation import (
    MINUS,
    MISSING,
    format_count,
    format_interval,
    format_number,
    format_p_value,
    format_signed,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.03, "+0.0300"),
        (-0.03, f"{MINUS}0.0300"),
        (0.0, "0.0000"),
        (-1e-9, "0.0000"),
        (1e-9, "0.0000"),
    ],
)
def test_signs_are_true_and_zero_has_none(value, expected):
    assert format_signed(value) == expected


def test_missing_numbers_are_a_dash():
    nan = float("nan")
    assert [format_number(nan), format_interval(nan, nan), format_p_value(nan)] == [MISSING] * 3


def test_tiny_p_values_are_not_spelled_out():
    assert [format_p_value(p) for p in (0.0009, 0.001, 0.0625)] == ["< 0.001", "0.0010", "0.0625"]


def test_a_noun_is_in_the_plural_unless_there_is_one():
    found = [format_count(n, noun) for noun in ("picture", "copy") for n in (0, 1, 2)]
    assert found == ["0 pictures", "1 picture", "2 pictures", "0 copies", "1 copy", "2 copies"]
