import io
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.config.mistakes import UserError
from stages.study.key import NOBODY
from stages.study.pairs import Study, count_checks, count_pictures, destroy, lay_out
from tests.study_project import draw_pictures, list_samples

ARMS = ("baseline", "finetuned", "lora")


def draw(num_pairs: int, num_arms: int = 2, seed: int = 0) -> Study:
    samples = list_samples()
    files = {
        arm: dict(zip(samples["file_name"], draw_pictures(number), strict=True))
        for number, arm in enumerate(ARMS[:num_arms])
    }
    return lay_out(samples, files, num_pairs, seed)


def test_classes_take_turns_and_no_prompt_comes_again_before_all_came():
    key = draw(16).key
    pairs = key[key["kind"] == "pair"]
    assert Counter(pairs["class"]) == dict.fromkeys(set(list_samples()["class"]), 2)
    for seed in range(5):
        pairs = draw(16, seed=seed).key.query("kind == 'pair'")
        assert pairs["prompt_id"].is_unique
    assert draw(48).key.query("kind == 'pair'")["file_name"].is_unique


def test_more_pairs_than_pictures_are_refused_with_their_number():
    with pytest.raises(UserError, match=r"study\.num_pairs: found 49; each arm has 48 pictures"):
        draw(49)


def test_a_pair_has_both_arms_and_its_pictures_are_of_the_same_noise():
    key = draw(20).key
    for row in key[key["kind"].isin(["pair", "repeat"])].itertuples():
        assert {row.arm_a, row.arm_b} == {"baseline", "finetuned"}


def test_three_arms_meet_each_other_alike_often():
    key = draw(21, num_arms=3).key
    pairs = key[key["kind"] == "pair"]
    met = Counter(frozenset(p) for p in zip(pairs["arm_a"], pairs["arm_b"], strict=True))
    assert sorted(met.values()) == [7, 7, 7]


@pytest.mark.parametrize("num_pairs", [1, 3, 20, 40])
def test_checks_are_added_and_a_pair_comes_back_in_the_second_part_with_its_sides_swapped(
    num_pairs,
):
    study = draw(num_pairs)
    key = study.key.set_index("trial")
    kinds = Counter(key["kind"])
    assert kinds == {"pair": num_pairs, **count_checks(num_pairs)}
    shown = {(t.a, t.b): t for t in study.early}
    for trial in study.late:
        if key.loc[trial.name, "kind"] == "repeat":
            first = shown[trial.b, trial.a]
            assert key.loc[first.name, "kind"] == "pair"
            assert key.loc[first.name, "arm_a"] == key.loc[trial.name, "arm_b"]
            assert first.text == trial.text
    assert len(study.images) == count_pictures(num_pairs)


def test_equal_pictures_are_equal_and_a_destroyed_one_is_nobodys_and_has_the_same_colours():
    study = draw(20)
    for row in study.key.itertuples():
        a, b = (np.array(study.images[name]) for name in (row.a, row.b))
        if row.kind == "equal":
            assert (a == b).all()
            assert row.a != row.b
        if row.kind == "destroyed":
            assert NOBODY in (row.arm_a, row.arm_b)
            assert (a != b).any()
            assert (np.sort(a, axis=None) == np.sort(b, axis=None)).all()


def test_the_same_seed_and_pictures_give_the_same_study_and_others_another():
    assert draw(10).key.equals(draw(10).key)
    studies = {draw(10, seed=seed).key["study"][0] for seed in range(3)}
    assert len(studies) == 3


def test_destroying_leaves_what_fills_no_tile():
    image = Image.fromarray(np.arange(20 * 17 * 3, dtype=np.uint8).reshape(20, 17, 3))
    broken = np.array(destroy(image, np.random.default_rng(0)))
    assert (broken[16:] == np.array(image)[16:]).all()
    assert (broken[:, 16:] == np.array(image)[:, 16:]).all()
    assert (broken[:16, :16] != np.array(image)[:16, :16]).any()


def test_pictures_are_those_of_the_files():
    samples = list_samples()
    study = draw(10)
    files = dict(zip(samples["file_name"], draw_pictures(0), strict=True))
    row = study.key[study.key["kind"] == "pair"].iloc[0]
    name = row["a"] if row["arm_a"] == "baseline" else row["b"]
    whole = Image.open(io.BytesIO(files[row["file_name"]]))
    assert (np.array(study.images[name]) == np.array(whole)).all()


def test_rows_of_the_key_are_in_the_order_of_names_that_say_nothing():
    assert draw(20).key["trial"].is_monotonic_increasing
    assert isinstance(draw(5).key, pd.DataFrame)
