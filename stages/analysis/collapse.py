"""Collapse: pictures that are black, flat, not finite, or the same picture once more."""

from collections.abc import Mapping

import pandas as pd

KINDS = {
    "num_black": "black",
    "num_flat": "flat",
    "num_non_finite": "not finite",
    "num_duplicates": "duplicated",
}
"""Name of a count, as in metrics/V.json, to its word. A picture may be of several kinds."""


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


def word_collapse(baseline: Mapping[str, int], finetuned: Mapping[str, int]) -> str:
    """A sentence on the fine-tuned model's bad pictures beside the baseline's; empty if none.

    It calls it collapse where the fine-tuned model has more of a kind than the baseline has.

    Args:
        baseline: Counts as `count_collapse` gives them; metrics/baseline.json holds them too.
        finetuned: Likewise.
    """
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
