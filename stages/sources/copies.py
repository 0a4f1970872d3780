"""Choose so that equal pictures are never both trained on and held out."""

import hashlib
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from PIL import Image
from tqdm import tqdm

from stages.sources.choosing import Choice, TooFewError
from stages.sources.notes import Note, summarise
from stages.sources.source import Source

Choose = Callable[[int, int, AbstractSet[int]], Choice]
"""So many to train on and so many to hold out, none of the copies."""


def choose_apart(
    source: Source, choose: Choose, num_train: int, num_held_out: int
) -> tuple[Choice, dict[int, str]]:
    """Choose so that no picture to train on has the pixels of one that is held out.

    Args:
        source: Of which all chosen pictures are decoded.
        choose: Gives a choice of these numbers without some copies.
        num_train: How many to train on.
        num_held_out: How many to hold out.

    Returns:
        The choice, and the hash of each picture's pixels; none of drawn pictures.

    Raises:
        TooFewError: There are too few; the numbers that would work were tried.
    """
    if source.is_drawn:
        return choose(num_train, num_held_out, frozenset()), {}
    pixels: dict[int, str] = {}
    try:
        choice, copies = _leave_out_copies(source, choose, (num_train, num_held_out), pixels)
    except TooFewError as error:
        works = _find_what_works(source, choose, error.works, pixels)
        raise TooFewError(f"{error.shortage}{summarise(source.notes)}", works, error.keys) from None
    source.notes.extend(
        Note(source.entries[index].source_id, "same pixels as a picture that is held out")
        for index in sorted(copies)
    )
    _note_copies(source, choice, pixels)
    return choice, pixels


def _leave_out_copies(
    source: Source, choose: Choose, numbers: tuple[int, int], pixels: dict[int, str]
) -> tuple[Choice, set[int]]:
    """A choice, and the copies that it is without; `pixels` are added to."""
    copies: set[int] = set()
    while True:
        choice = choose(*numbers, copies)
        new = sorted({*choice.train, *choice.validation} - pixels.keys())  # as sources store them
        for index in tqdm(new, desc="preflight", unit=" pictures", mininterval=1):
            pixels[index] = hash_pixels(source.load_image(index))
        held_out = {pixels[index] for index in choice.validation}
        found = {index for index in choice.train if pixels[index] in held_out}
        if not found:
            return choice, copies
        copies |= found


def _find_what_works(
    source: Source, choose: Choose, numbers: tuple[int, int] | None, pixels: dict[int, str]
) -> tuple[int, int] | None:
    """Numbers that do, `numbers` or lower ones: other pictures may be copies, too."""
    while numbers:
        try:
            _leave_out_copies(source, choose, numbers, pixels)
            break
        except TooFewError as error:
            numbers = error.works
    return numbers


def _note_copies(source: Source, choice: Choice, pixels: dict[int, str]) -> None:
    for indices in choice:
        counts = Counter(pixels[index] for index in indices)
        source.notes.extend(
            Note(source.entries[index].source_id, "taken, although another of its split is equal")
            for index in indices
            if counts[pixels[index]] > 1
        )


def hash_pixels(image: Image.Image) -> str:
    """A hash of a picture's size and pixels, 32 hex digits."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()
