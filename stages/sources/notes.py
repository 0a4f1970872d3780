"""What is said of files that were left out, or not taken as they are."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from stages.config.mistakes import show_line

MAX_EXAMPLE = 80
"""Characters of a file's name in the log."""


class Note(NamedTuple):
    """A file, row or text that was left out, or not taken as it is, and why."""

    item: str
    reason: str


def summarise(notes: Sequence[Note]) -> str:
    """How many notes there are by reason, each with its first item, as the end of a line."""
    firsts: dict[str, str] = {}
    for item, reason in notes:
        firsts.setdefault(reason, show_line(item, MAX_EXAMPLE))
    counts = Counter(note.reason for note in notes)
    told = [f"{counts[reason]} {reason} ({item})" for reason, item in firsts.items()]
    return f"; left out or noted: {', '.join(told)}" if told else ""
