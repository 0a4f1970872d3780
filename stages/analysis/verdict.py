"""The verdict, per set and in words: "better", "worse" or "no difference shown"."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stages.artifacts.notation import format_interval, format_p_value, format_signed

Verdict = Literal["better", "worse", "no difference shown"]


def judge(row: Mapping[str, Any], confidence_level: float) -> Verdict:
    """Better or worse only if interval and p-value agree; `row` has ci_low, ci_high, p_value."""
    if not row["p_value"] < 1 - confidence_level:
        return "no difference shown"
    if row["ci_low"] > 0:
        return "better"
    return "worse" if row["ci_high"] < 0 else "no difference shown"


def word_headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts alone: "Better on class prompts, worse on marketing prompts"."""
    sets: dict[str, list[str]] = {}
    for row in rows:
        sets.setdefault(row["verdict"], []).append(row["set"])
    headline = ", ".join(f"{verdict} on {_join(verdict, names)}" for verdict, names in sets.items())
    return headline[:1].upper() + headline[1:]


def word_verdict(rows: Sequence[Mapping[str, Any]], confidence_level: float) -> str:
    """One sentence over the rows of `compare_sets`, each with its difference and interval."""
    sentence = "; ".join(_word_set(row, confidence_level) for row in rows)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def word_bad_images(num_bad: int, num_images: int) -> str:
    """A sentence on black, flat and non-finite fine-tuned pictures; empty if there are none."""
    if num_bad == 0:
        return ""
    verb = "is" if num_bad == 1 else "are"
    return f"{num_bad} of {num_images} fine-tuned pictures {verb} black, flat or not finite."


def _join(verdict: str, names: list[str]) -> str:
    word = " or " if verdict == "no difference shown" else " and "
    return f"{word.join(names)} prompts"


def _word_set(row: Mapping[str, Any], confidence_level: float) -> str:
    numbers = f"{format_signed(row['difference'])} CLIP cosine"
    if not math.isnan(row["ci_low"]):
        interval = format_interval(row["ci_low"], row["ci_high"])
        numbers += f", {confidence_level * 100:g} % interval {interval}"
    p_value = format_p_value(row["p_value"])
    numbers += f", p {p_value}" if p_value.startswith("<") else f", p = {p_value}"
    return f"on {row['num_prompts']} {row['set']} prompts {_CLAIMS[row['verdict']]} ({numbers})"


_CLAIMS: dict[Verdict, str] = {
    "better": "the fine-tuned model is better",
    "worse": "the fine-tuned model is worse",
    "no difference shown": "no difference is shown",
}
