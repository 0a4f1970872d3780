"""Which pictures are shown, in which order, on which side and under which names.

All of it is drawn by a seed, and by the pictures themselves: who has the page alone cannot draw it
again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from stages.config.mistakes import UserError
from stages.files.images import decode_image
from stages.study.key import KEY_SCHEMA, NOBODY, Kind, digest, name_study

PAIRS_PER_REPEAT, PAIRS_PER_EQUAL, PAIRS_PER_DESTROYED = 10, 20, 20
"""For so many pairs one check of the raters is added; of each kind one at least."""
TILES = 8
"""A destroyed picture is cut into so many times so many, which are put back in any order."""

Files = Mapping[str, Mapping[str, bytes]]
"""Arm to file name to the bytes of a PNG file."""


class Trial(NamedTuple):
    """What is shown at once: a text and the names of two pictures."""

    name: str
    text: str
    a: str
    b: str


class Study(NamedTuple):
    """A study to be shown.

    Attributes:
        key: Rows of `KEY_SCHEMA`.
        early: Trials of the first part, in any order.
        late: Those of the second, in which repeats are.
        images: By name.
    """

    key: pd.DataFrame
    early: Sequence[Trial]
    late: Sequence[Trial]
    images: Mapping[str, Image.Image]


def count_checks(num_pairs: int) -> dict[Kind, int]:
    """How many trials of each kind check the raters."""
    per: dict[Kind, int] = {
        "repeat": PAIRS_PER_REPEAT,
        "equal": PAIRS_PER_EQUAL,
        "destroyed": PAIRS_PER_DESTROYED,
    }
    return {kind: max(1, round(num_pairs / each)) for kind, each in per.items()}


def count_pictures(num_pairs: int) -> int:
    """How many pictures a page of so many pairs has; a repeat has those of its pair."""
    checks = count_checks(num_pairs)
    return 2 * (num_pairs + checks["equal"] + checks["destroyed"])


def lay_out(samples: pd.DataFrame, files: Files, num_pairs: int, seed: int) -> Study:
    """Draw a study.

    Args:
        samples: file_name, prompt_id, set, class and prompt of each picture that every arm has.
        files: The arms, two or more.
        num_pairs: 1 or more; each pair of arms gets its share.
        seed: Which pictures are taken; with the pictures, all the rest.

    Raises:
        UserError: There are not so many pictures, or one is damaged.
    """
    if num_pairs > len(samples):
        raise UserError(
            f"study.num_pairs: found {num_pairs}; each arm has {len(samples)} pictures, so that is "
            "the most"
        )
    order = order_pictures(samples, seed)
    checks = count_checks(num_pairs)
    others = [kind for kind in ("equal", "destroyed") for _ in range(checks[kind])]
    rows = order.iloc[[n % len(order) for n in range(num_pairs + len(others))]]
    kinds = ["pair"] * num_pairs + others
    draw = _Draw(files, _seed_by_pictures(files, rows["file_name"], seed))
    drawn = [
        draw.trial(kind, row) for kind, row in zip(kinds, rows.to_dict("records"), strict=True)
    ]
    places = draw.rng.permutation(len(drawn)).tolist()
    again = [place for place in places if kinds[place] == "pair"][: checks["repeat"]]
    places = again + [place for place in places if place not in again]
    half = max(len(again), (len(places) + 1) // 2)
    early, late = ([drawn[place] for place in part] for part in (places[:half], places[half:]))
    late += [draw.repeat(drawn[place]) for place in again]
    key = pd.DataFrame([*early, *late]).assign(study="").sort_values("trial")
    key = key[list(KEY_SCHEMA)].reset_index(drop=True)
    return Study(key.assign(study=name_study(key)), _list(early), _list(late), draw.images)


def order_pictures(samples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """All pictures in the order in which they are taken.

    Sets and classes take turns; of a class every prompt comes once before one comes again.
    """
    rng = np.random.default_rng(seed)
    drawn = samples.iloc[rng.permutation(len(samples))]
    drawn = drawn.assign(again=drawn.groupby("prompt_id").cumcount())
    drawn = drawn.sort_values("again", kind="stable")
    drawn = drawn.assign(turn=drawn.groupby(["set", "class"]).cumcount())
    return drawn.sort_values("turn", kind="stable").drop(columns=["again", "turn"])


def destroy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square picture whose tiles are in any order; what does not fill a tile stays."""
    pixels = np.array(image)
    side = max(1, min(image.size) // TILES)
    corners = [(y * side, x * side) for y in range(TILES) for x in range(TILES)]
    source = pixels.copy()
    for (y, x), place in zip(corners, rng.permutation(len(corners)), strict=True):
        top, left = corners[place]
        pixels[y : y + side, x : x + side] = source[top : top + side, left : left + side]
    return Image.fromarray(pixels)


class _Draw:
    """Sides, names and pictures of trials, one after the other."""

    def __init__(self, files: Files, rng: np.random.Generator) -> None:
        self.files, self.rng = files, rng
        self.images: dict[str, Image.Image] = {}
        self._arms = [list(pair) for pair in combinations(files, 2)]
        self._turn = 0

    def trial(self, kind: str, row: Mapping[str, str]) -> dict[str, str]:
        """A row of the key, with the text that is shown."""
        arms = self._arms[self._turn % len(self._arms)]
        self._turn += kind == "pair"
        if kind != "pair":
            arm = list(self.files)[self.rng.integers(len(self.files))]
            arms = [arm, arm if kind == "equal" else NOBODY]
        sides = []
        for arm in arms:
            data = self.files[arm or arms[0]][row["file_name"]]
            image = decode_image(data, row["file_name"])
            image = image if arm else destroy(image, self.rng)
            name = self._name()
            self.images[name] = image
            sides.append((name, arm, digest(data) if arm else ""))
        (a, arm_a, digest_a), (b, arm_b, digest_b) = (
            sides[n] for n in self.rng.permutation(len(sides))
        )
        return {
            **{name: row[name] for name in ("file_name", "prompt_id", "set", "class", "prompt")},
            **{"trial": self._name(), "kind": kind, "a": a, "b": b},
            **{"arm_a": arm_a, "arm_b": arm_b, "digest_a": digest_a, "digest_b": digest_b},
        }

    def repeat(self, row: Mapping[str, str]) -> dict[str, str]:
        """The trial with its sides swapped."""
        swapped = {
            f"{name}{side}": row[f"{name}{other}"]
            for name in ("", "arm_", "digest_")
            for side, other in ("ab", "ba")
        }
        return {**row, **swapped, "trial": self._name(), "kind": "repeat"}

    def _name(self) -> str:
        return self.rng.bytes(5).hex()


def _seed_by_pictures(files: Files, names: Sequence[str], seed: int) -> np.random.Generator:
    found = hashlib.sha256(str(seed).encode())
    for arm, named in files.items():
        found.update(f"{arm}\n".encode())
        for name in names:
            found.update(named[name])
    return np.random.default_rng(int.from_bytes(found.digest()))


def _list(rows: Sequence[Mapping[str, str]]) -> list[Trial]:
    """Trials by name, which says nothing."""
    trials = [Trial(row["trial"], row["prompt"], row["a"], row["b"]) for row in rows]
    return sorted(trials)
