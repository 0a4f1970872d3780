"""Collapse: pictures that are black, flat, not finite, the same once more, or of nothing at all.

A destroyed model may give noise that is none of the first four: that shows in what is recognised.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stages.config.notation import format_number

KINDS = {
    "num_black": "black",
    "num_flat": "flat",
    "num_non_finite": "not finite",
    "num_duplicates": "duplicated",
}
"""Name of a count, as in metrics/V.json, to its word. A picture may be of several kinds."""
SMALLEST_SHARE_RECOGNISED = 0.5
"""Below this share of the baseline's zero-shot accuracy more was lost than is left."""


def count_bad(scores: pd.DataFrame) -> int:
    """Pictures that are black, flat or not finite."""
    return int((scores["is_black"] | scores["is_flat"] | ~scores["is_finite"]).sum())


def count_collapse(scores: pd.DataFrame) -> dict[str, int]:
    """The counts of `KINDS` and `num_images`, as metrics/V.json has them."""
    return {
        "num_images": len(scores),
        "num_black": int(scores["is_black"].sum()),
        "num_flat": int(scores["is_flat"].sum()),
        "num_non_finite": int((~scores["is_finite"]).sum()),
        "num_duplicates": int(scores["is_duplicate"].sum()),
    }


def word_collapse(
    baseline: Mapping[str, int], finetuned: Mapping[str, int], sets: Sequence[Mapping[str, Any]]
) -> str:
    """Sentences on the fine-tuned model's bad pictures and what is no longer recognised, or "".

    Args:
        baseline: Counts as `count_collapse` gives them; metrics/baseline.json holds them too.
        finetuned: Likewise.
        sets: Rows of `compare_sets`.
    """
    sentences = [_word_counts(baseline, finetuned), *map(_word_recognition, sets)]
    return " ".join(sentence for sentence in sentences if sentence)


def _word_counts(baseline: Mapping[str, int], finetuned: Mapping[str, int]) -> str:
    """It is collapse where the fine-tuned model has more of a kind than the baseline has."""
    found = [name for name in KINDS if finetuned[name]]
    if not found:
        return ""
    is_new = any(finetuned[name] > baseline[name] for name in found)
    counts = " and ".join(f"{finetuned[name]} {KINDS[name]} ({baseline[name]})" for name in found)
    claim = "Collapse" if is_new else "No collapse, but pictures that the baseline has as well"
    return (
        f"{claim}: of {finetuned['num_images']} fine-tuned pictures (in brackets: of "
        f"{baseline['num_images']} of the baseline) {counts}."
    )


def _word_recognition(row: Mapping[str, Any]) -> str:
    """It is collapse where most of what was recognised in a set is not any more."""
    before, after = row["zero_shot_accuracy_baseline"], row["zero_shot_accuracy_finetuned"]
    if after >= before * SMALLEST_SHARE_RECOGNISED:
        return ""
    return (
        f"Collapse: zero-shot accuracy on {row['set']} prompts fell from "
        f"{format_number(before, 3)} to {format_number(after, 3)}."
    )
