import re
from collections import Counter

import pytest

from stages.config.mistakes import UserError
from stages.sources.choosing import choose_pictures, divide
from stages.sources.source import Entry, Source


def make_source(counts):
    names = [name for name, count in counts.items() for _ in range(count)]
    entries = [Entry(f"{name}{index}", name) for index, name in enumerate(names)]
    return Source("pictures", entries, lambda _: None)


def count_classes(source, indices):
    return Counter(source.entries[index].class_name for index in indices)


def test_parts_differ_by_one_at_the_most_and_add_up():
    assert divide(11, 4) == [3, 3, 3, 2]
    assert divide(2, 3) == [1, 1, 0]


def test_splits_are_balanced_and_share_no_picture():
    source = make_source({"cat": 50, "dog": 30, "frog": 9})
    train, validation = choose_pictures(source, ["cat", "dog", "frog"], 20, 5, seed=0)
    assert count_classes(source, train) == {"cat": 7, "dog": 7, "frog": 6}
    assert count_classes(source, validation) == {"cat": 2, "dog": 2, "frog": 1}
    assert len({*train, *validation}) == 25


def test_the_seed_decides_and_nothing_else():
    source = make_source({"cat": 50, "dog": 50})
    first, again, other = (
        choose_pictures(source, ["cat", "dog"], 20, 4, seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert set(first.train) != set(other.train)
    assert set(first.validation) != set(other.validation)


def test_more_training_pictures_leave_the_held_out_ones_and_keep_the_others():
    source = make_source({"cat": 50, "dog": 50})
    few = choose_pictures(source, ["cat", "dog"], 20, 4, seed=0)
    more = choose_pictures(source, ["cat", "dog"], 40, 4, seed=0)
    assert few.validation == more.validation
    assert set(few.train) < set(more.train)


def test_classes_are_mixed_in_the_training_order():
    source = make_source({"cat": 50, "dog": 50})
    train, _ = choose_pictures(source, ["cat", "dog"], 100 - 4, 4, seed=0)
    assert 30 < sum(index < 50 for index in train[:80]) < 50


def test_pictures_without_classes_are_chosen_as_one_class():
    source = make_source({None: 30})
    train, validation = choose_pictures(source, ["cat", "dog"], 20, 5, seed=0)
    assert len({*train, *validation}) == 25


def test_pictures_of_other_classes_are_not_chosen():
    source = make_source({"cat": 10, "lynx": 100})
    train, validation = choose_pictures(source, ["cat"], 8, 2, seed=0)
    assert count_classes(source, [*train, *validation]) == {"cat": 10}


def test_a_class_with_too_few_pictures_is_told_with_what_it_has_and_needs():
    source = make_source({"cat": 50, "dog": 3})
    with pytest.raises(UserError, match=r"dog has 3 pictures and needs 3 \+ 1; frog has 0 pict"):
        choose_pictures(source, ["cat", "dog", "frog"], 9, 3, seed=0)


@pytest.mark.parametrize(
    ("counts", "wanted", "works"),
    [
        ({"cat": 5, "dog": 3}, (8, 4), "num_pairs 3 with prepare.num_validation_pairs 4 would"),
        ({"cat": 9, "dog": 2}, (9, 9), "num_pairs 3 with prepare.num_validation_pairs 3 would"),
        ({"cat": 9, "dog": 1}, (9, 9), "dog has 1 picture and .*; add pictures, or take classes"),
        ({"cat": 5, "dog": 0}, (2, 2), "add pictures, or take classes out"),
        ({None: 7}, (9, 2), "num_pairs 5 with prepare.num_validation_pairs 2 would work"),
    ],
)
def test_the_numbers_that_are_said_to_work_do(counts, wanted, works):
    source = make_source(counts)
    with pytest.raises(UserError, match=works) as caught:
        choose_pictures(source, list(counts), *wanted, seed=0)
    if found := re.search(
        r"num_pairs (\d+) with prepare.num_validation_pairs (\d+) would", str(caught.value)
    ):
        train, validation = map(int, found.groups())
        choose_pictures(source, list(counts), train, validation, seed=0)
        with pytest.raises(UserError):
            choose_pictures(source, list(counts), train + 1, validation, seed=0)
