"""Choose which pictures become pairs: balanced over the classes, disjoint, seeded."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.config.mistakes import UserError
from stages.sources.source import Entry, Source

Groups = dict[str | None, list[int]]


class Choice(NamedTuple):
    """Indices of a source's entries: training pictures in training order, and held-out ones."""

    train: list[int]
    validation: list[int]


def choose_pictures(
    source: Source, classes: Sequence[str], num_train: int, num_validation: int, seed: int
) -> Choice:
    """Draw pictures without replacement, so that class counts differ by one at the most.

    Which pictures a class gives depends on the seed and its name only, and the held-out ones not
    on `num_train`. A source without classes is one class.

    Raises:
        UserError: A class has too few pictures; says how many it has and needs.
    """
    groups = _group_by_class(source.entries, classes)
    needs = [
        (name, train, validation)
        for name, train, validation in zip(
            groups, divide(num_train, len(groups)), divide(num_validation, len(groups)), strict=True
        )
    ]
    _check_supply(source.name, groups, needs)
    train, validation = [], []
    for name, num_name_train, num_name_validation in needs:
        rng = np.random.default_rng([seed, zlib.crc32((name or "").encode())])
        drawn = rng.permutation(groups[name])[: num_name_validation + num_name_train].tolist()
        validation += drawn[:num_name_validation]
        train += drawn[num_name_validation:]
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


def _check_supply(
    source_name: str,
    groups: Groups,
    needs: Sequence[tuple[str | None, int, int]],
) -> None:
    short = [
        f"{name or 'it'} has {len(groups[name])} and needs {train} + {validation}"
        for name, train, validation in needs
        if len(groups[name]) < train + validation
    ]
    if short:
        raise UserError(
            f"{source_name}: too few pictures for prepare.num_pairs + num_validation_pairs: "
            f"{'; '.join(short)}"
        )
