"""Choose which pictures become pairs: balanced over the classes, disjoint, seeded."""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np

from stages.config.mistakes import UserError
from stages.config.notation import format_count
from stages.sources.source import Entry, Source

KEYS = ("prepare.num_pairs", "prepare.num_validation_pairs")
Groups = dict[str | None, list[int]]


class TooFewError(UserError):
    """There are fewer pictures than were asked for.

    Attributes:
        shortage: What there is, and what is asked for.
        works: Numbers to train on and to hold out that would do; None if there are none.
    """

    def __init__(self, shortage: str, works: tuple[int, int] | None, keys: tuple[str, str]) -> None:
        """Word it, where `keys` are those of params.yaml that ask for the two numbers."""
        remedy = "add pictures, or take classes out" if keys == KEYS else "add pictures"
        if works:
            remedy = f"{keys[0]} {works[0]} with {keys[1]} {works[1]} would work"
        super().__init__(f"{shortage}; {remedy}")
        self.shortage, self.works, self.keys = shortage, works, keys


class Choice(NamedTuple):
    """Indices of a source's entries: training pictures in training order, and held-out ones."""

    train: list[int]
    validation: list[int]


def choose_pictures(
    source: Source,
    classes: Sequence[str],
    num_train: int,
    num_validation: int,
    seed: int,
    copies: AbstractSet[int] = frozenset(),
) -> Choice:
    """Draw pictures without replacement, so that class counts differ by one at the most.

    Which pictures a class gives depends on the seed and its name only, and the held-out ones not
    on `num_train`. None of `copies` is drawn. A source without classes is one class.

    Raises:
        UserError: A class has too few pictures; says how many it has and needs, and what works.
    """
    groups = _group_by_class(source.entries, classes)
    parts = [divide(count, len(groups)) for count in (num_train, num_validation)]
    train, validation = [], []
    drawn = {}
    for name, group in groups.items():
        rng = np.random.default_rng([seed, zlib.crc32((name or "").encode())])
        order = rng.permutation(group).tolist()
        drawn[name] = [index for index in order if index not in copies]
    supply = {name: len(indices) for name, indices in drawn.items()}
    check_supply(source.name, supply, parts[0], parts[1], KEYS, len(copies))
    for indices, num_name_train, num_name_validation in zip(drawn.values(), *parts, strict=True):
        validation += indices[:num_name_validation]
        train += indices[num_name_validation : num_name_validation + num_name_train]
    return Choice(np.random.default_rng(seed).permutation(train).tolist(), validation)


def divide(total: int, num_parts: int) -> list[int]:
    """Split a count into parts that differ by one at the most, the larger ones first."""
    share, rest = divmod(total, num_parts)
    return [share + (part < rest) for part in range(num_parts)]


def _group_by_class(entries: Sequence[Entry], classes: Sequence[str]) -> Groups:
    """Indices by class, in the order of `classes`; under None if no entry has a class."""
    groups: Groups = defaultdict(list)
    for index, entry in enumerate(entries):
        groups[entry.class_name].append(index)
    if set(groups) == {None}:
        return groups
    return {name: groups[name] for name in classes}


def check_supply(
    source_name: str,
    supply: Mapping[str | None, int],
    train: Sequence[int],
    validation: Sequence[int],
    keys: tuple[str, str],
    num_copies: int,
) -> None:
    """Refuse a source where a class has fewer pictures than it needs.

    Args:
        source_name: As the message calls it.
        supply: How many pictures a class has, beside copies of held-out ones.
        train: How many of each class are to be trained on.
        validation: How many are to be held out.
        keys: Of params.yaml, that ask for the two.
        num_copies: How many there are.

    Raises:
        TooFewError: Says which classes are short, and by how much.
    """
    short = [
        f"{name or 'it'} has {format_count(has, 'picture')} and needs {num_train} + "
        f"{num_validation}"
        for (name, has), num_train, num_validation in zip(
            supply.items(), train, validation, strict=True
        )
        if has < num_train + num_validation
    ]
    if short:
        works = _find_what_works(list(supply.values()), sum(train), sum(validation))
        beside = f"beside {format_count(num_copies, 'copy')} of held-out pictures, "
        what = f"{beside if num_copies else ''}too few pictures for {keys[0]} + {keys[1]}"
        raise TooFewError(f"{source_name}: {what}: {'; '.join(short)}", works, keys)


def _find_what_works(
    supply: Sequence[int], num_train: int, num_validation: int
) -> tuple[int, int] | None:
    """The largest numbers that would do and leave no class out, held-out pictures first."""

    def fits(train: int, validation: int) -> bool:
        parts = (divide(count, len(supply)) for count in (train, validation))
        return all(a + b <= has for a, b, has in zip(*parts, supply, strict=True))

    train, validation = (min(count, len(supply)) for count in (num_train, num_validation))
    if not fits(train, validation):
        return None
    while validation < num_validation and fits(train, validation + 1):
        validation += 1
    while train < num_train and fits(train + 1, validation):
        train += 1
    return train, validation
