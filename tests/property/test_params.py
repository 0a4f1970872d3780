import json
import math
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml, parse_yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.config.mistakes import UserError
from stages.config.params import parse_params

QUICK = settings(max_examples=25, deadline=None, derandomize=True, database=None)
VALUES = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text(encoding="utf-8"))


def change(section, key, value):
    """The text of params.yaml, as JSON, which is YAML too, with one value changed."""
    return json.dumps(VALUES | {section: VALUES[section] | {key: value}})


@QUICK
@given(st.floats(0, 1))
def test_a_learning_rate_survives_as_a_number_and_as_text(rate):
    for value in (rate, repr(rate)):
        text = change("finetune", "learning_rate", value)
        assert parse_params(text).finetune.learning_rate == rate


@QUICK
@given(st.integers())
def test_exactly_the_seeds_of_32_bits_are_taken(seed):
    text = change("sample", "seed", seed)
    if 0 <= seed < 2**32:
        assert parse_params(text).sample.seed == seed
    else:
        with pytest.raises(UserError, match=r"^params\.yaml: sample\.seed: found -?\d+"):
            parse_params(text)


@QUICK
@given(
    st.sampled_from([(name, key) for name, part in VALUES.items() if name in ("finetune", "sample")
                     for key in part]),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    ),
)  # fmt: skip
def test_any_value_is_taken_as_it_is_or_refused_in_one_line_that_names_the_key(place, value):
    section, key = place
    try:
        params = parse_params(change(section, key, value))
    except ValueError as error:
        lines = str(error).splitlines()
        assert all(line.startswith("params.yaml: ") for line in lines)
        named = f"params.yaml: {section}.{key}"
        assert any(line.startswith(named) for line in lines) or key == "max_train_steps"
    else:
        taken = getattr(getattr(params, section), key)
        assert not isinstance(value, bool)
        assert taken == value or taken == float(value)
        assert not isinstance(taken, float) or math.isfinite(taken)


WORDS = st.sampled_from(["a", "photograph", "", "b: c", "#d", "'e'", "-", "\u00a0", "\u3000", "ß"])


@settings(QUICK, max_examples=60)
@given(st.text(min_size=1) | st.lists(WORDS, min_size=30, max_size=60).map(" ".join))
@example("a" * 80 + "  b")
def test_a_name_that_is_taken_comes_back_from_the_lock_file_as_it_was(name):
    # Else `dvc repro` would run the stage each time: DVC writes names into dvc.lock.
    try:
        classes = parse_params(change("prepare", "classes", [name])).prepare.classes
    except ValueError:
        return
    saved = {"params": {"prepare": {"classes": list(classes)}}}
    assert parse_yaml(dumps_yaml(saved), "dvc.lock") == saved


@QUICK
@given(st.sampled_from(sorted(VALUES["finetune"])), st.integers(0, 30))
def test_a_key_with_a_letter_missing_gets_a_suggestion(key, place):
    place %= len(key)
    misspelt = key[:place] + key[place + 1 :]
    section = {misspelt if name == key else name: v for name, v in VALUES["finetune"].items()}
    with pytest.raises(UserError, match="unknown key; did you mean"):
        parse_params(json.dumps(VALUES | {"finetune": section}))
