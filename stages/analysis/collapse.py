"""Collapse: pictures that are black, flat, not finite, the same once more, or of nothing at all.

A destroyed model may give noise that is none of the first four: that shows in what is recognised.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stages.analysis.results import COLLAPSED_SCHEMA
from stages.config.notation import format_number, word_set

KINDS = {
    "num_black": "black",
    "num_flat": "flat",
    "num_non_finite": "not finite",
    "num_duplicates": "duplicated",
}
"""Name of a count to its word. A picture may be of several kinds."""
SMALLEST_SHARE_RECOGNISED = 0.5
"""Below this share of the baseline's zero-shot accuracy more was lost than is left."""


def count_collapse(scores: pd.DataFrame) -> dict[str, int]:
    """How many pictures of a variant are of each kind.

    `num_bad` are black, flat or not finite; a duplicate is no bad picture by itself.
    """
    kinds = _find_kinds(scores)
    return {
        "num_images": len(scores),
        **{name: int(count) for name, count in kinds.sum().items()},
        "num_bad": int(kinds.drop(columns="num_duplicates").any(axis=1).sum()),
    }


def list_collapsed(scores: pd.DataFrame) -> pd.DataFrame:
    """The pictures that are of any kind, with all of their kinds as the reason."""
    kinds = _find_kinds(scores)
    kinds = kinds[kinds.any(axis=1)]
    reasons = [
        ", ".join(word for name, word in KINDS.items() if row[name])
        for row in kinds.to_dict("records")
    ]
    return scores.loc[kinds.index].assign(reason=reasons)[list(COLLAPSED_SCHEMA)]


def word_collapse(
    baseline: Mapping[str, int], finetuned: Mapping[str, int], sets: Sequence[Mapping[str, Any]]
) -> str:
    """Sentences on the fine-tuned model's bad pictures and what is no longer recognised, or "".

    Args:
        baseline: Counts, as `count_collapse` gives them.
        finetuned: Counts of the other variant.
        sets: Rows of `compare_sets`.
    """
    sentences = [_word_counts(baseline, finetuned), *map(_word_recognition, sets)]
    return " ".join(sentence for sentence in sentences if sentence)


def _find_kinds(scores: pd.DataFrame) -> pd.DataFrame:
    """Of which kinds each picture is, a column a kind."""
    flags = (scores["is_black"], scores["is_flat"], ~scores["is_finite"], scores["is_duplicate"])
    return pd.DataFrame(dict(zip(KINDS, flags, strict=True)))


def _word_counts(baseline: Mapping[str, int], finetuned: Mapping[str, int]) -> str:
    """It is collapse where the fine-tuned model has more of a kind than the baseline has."""
    found = [name for name in KINDS if finetuned[name]]
    if not found:
        return ""
    before, after = baseline["num_images"], finetuned["num_images"]
    is_new = any(finetuned[name] * before > baseline[name] * after for name in found)
    counts = " and ".join(f"{finetuned[name]} {KINDS[name]} ({baseline[name]})" for name in found)
    claim = "Collapse" if is_new else "No collapse, but pictures that the baseline has as well"
    return (
        f"{claim}: of {finetuned['num_images']} fine-tuned pictures (in brackets: of "
        f"{baseline['num_images']} of the baseline) {counts}."
    )


def _word_recognition(row: Mapping[str, Any]) -> str:
    """It is collapse where most of what was recognised in a set is not any more."""
    before, after = row["zero_shot_accuracy_baseline"], row["zero_shot_accuracy_finetuned"]
    if not after < before * SMALLEST_SHARE_RECOGNISED:  # or there is none, without classes
        return ""
    return (
        f"Collapse: zero-shot accuracy on {word_set(row['set'])} prompts fell from "
        f"{format_number(before, 3)} to {format_number(after, 3)}."
    )
