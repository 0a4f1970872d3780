"""The shipped params.yaml, changed at random: read rightly, or refused in lines that name the key.

`pytest -m slow tests/property` tries 1,000 changes of each kind.
"""

import json
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.config.params import Params, check_params, parse_params

TEXT = Path("params.yaml").read_text(encoding="utf-8")
VALUES = YAML(typ="safe", pure=True).load(TEXT)
UNUSUAL = [
    *("~", "yes", "true", ".nan", ".inf", "-1", "0", "-0.0", "1e400", "1e-400", "5e-06", "0x10"),
    *("0o17", "1_000", "1:30", "5.", "4294967296", "[]", "{}", "[[]]", "[null]", "''", "{}{}"),
    *("2026-01-01", "2026-13-45", "!!binary aGk=", "!!set {a}", "!!int x", "!unknown x", "*no"),
    *("!!python/object:os.system", '"\\ud800"', '"\\0"', '"a\\nb"', '"\\u2028"', "{[1]: 2}"),
    *("&a [*a]", "&a {b: *a}", "? [1, 2]\n: 3", "9" * 5000, "[" * 400, "x" * 9999),
]


def list_places(values: Any, at: tuple = ()) -> list[tuple]:
    """The path of every section, list, key and element."""
    children = values.items() if isinstance(values, dict) else enumerate(values)
    places = []
    for key, value in children:
        places.append((*at, key))
        if isinstance(value, dict | list):
            places += list_places(value, (*at, key))
    return places


PLACES = list_places(VALUES)
KEYS = [place for place in PLACES if isinstance(place[-1], str)]


def change(place: tuple, edit: Any) -> dict:
    """A copy of the values in which `edit(container, key)` changed one place."""
    values = json.loads(json.dumps(VALUES))
    container = values
    for key in place[:-1]:
        container = container[key]
    edit(container, place[-1])
    return values


def name_place(place: tuple) -> str:
    """The key as messages have it."""
    return ".".join(map(str, place))


def take(check: Callable[[Any], Params], given: Any) -> Params | list[str]:
    """The params, or the lines that say why not; anything else is a failure."""
    try:
        return check(given)
    except ValueError as error:
        lines = str(error).split("\n")
        for line in lines:
            assert line.startswith(("params.yaml: ", "params.yaml, line "))
            assert line.isprintable()
            assert len(line) < 500
        return lines


def check_sane(params: Params) -> None:
    """What any params that are taken promise."""
    for section in (params.finetune, params.sample, params.compare, params.score):
        for name, value in section:
            is_switch = type(section).model_fields[name].annotation is bool
            assert isinstance(value, bool) == is_switch
            assert not isinstance(value, float) or math.isfinite(value)
    assert params.base in params.bases


def check_value(place: tuple, raw: str) -> None:
    """A value is taken, or refused with the name of its key."""
    try:
        value = YAML(typ="safe", pure=True).load(raw)
    except Exception:  # no value, so the file as a whole is refused
        assert isinstance(take(parse_params, f"base: {raw}"), list)
        return
    found = take(
        check_params, change(place, lambda values, key: operator.setitem(values, key, value))
    )
    if isinstance(found, Params):
        check_sane(found)
    else:
        assert any(f"params.yaml: {name_place(place)}" in line for line in found)


def check_key(place: tuple, name: str) -> None:
    """A key under another name is refused, with one name or the other."""
    found = take(
        check_params,
        change(place, lambda values, key: values.update({name: values.pop(key)})),
    )
    if isinstance(found, Params):
        is_name_of_a_base = len(place) == 2 and place[0] == "bases" and place[1] != VALUES["base"]
        assert is_name_of_a_base or name == place[-1]
    else:
        assert any(name in line or str(place[-1]) in line for line in found)


def check_text(start: int, length: int, new: str) -> None:
    """A cut and an insertion anywhere in the file."""
    found = take(parse_params, TEXT[:start] + new + TEXT[start + length :])
    if isinstance(found, Params):
        check_sane(found)


def check_bytes(start: int, new: bytes) -> None:
    """Bytes that need not be UTF-8."""
    data = TEXT.encode()
    found = take(parse_params, data[:start] + new + data[start:])
    if isinstance(found, Params):
        check_sane(found)


SCALARS = st.one_of(
    st.sampled_from(UNUSUAL),
    st.integers().map(str),
    st.floats().map(lambda x: str(x).replace("nan", ".nan").replace("inf", ".inf")),
    st.text(max_size=20).map(json.dumps),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    ).map(json.dumps),
)
CHECKS = {
    check_value: (st.sampled_from(PLACES), SCALARS),
    check_key: (st.sampled_from(KEYS), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1)),
    check_text: (
        st.integers(0, len(TEXT)),
        st.integers(0, 40),
        st.one_of(st.text(max_size=5), st.sampled_from([*UNUSUAL, ":", "\t", "- ", "#", "---\n"])),
    ),
    check_bytes: (st.integers(0, len(TEXT.encode())), st.binary(min_size=1, max_size=3)),
}

FAST = settings(max_examples=25, deadline=None, derandomize=True, database=None)
LONG = settings(FAST, max_examples=1000, derandomize=False)


@pytest.mark.parametrize("check", CHECKS)
def test_a_wrong_file_is_taken_rightly_or_refused_in_lines_that_name_the_key(check):
    FAST(given(*CHECKS[check])(check))()


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_a_thousand_wrong_files_are_taken_rightly_or_refused_in_lines_that_name_the_key(check):
    LONG(given(*CHECKS[check])(check))()


@pytest.mark.parametrize("raw", UNUSUAL)
def test_an_unusual_value_is_taken_rightly_or_refused(raw):
    check_value(("finetune", "learning_rate"), raw)
    check_value(("prepare", "classes"), raw)
