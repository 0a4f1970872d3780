"""The verdict, per set and in words: better, worse, no difference shown, too little data to say."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stages.analysis.resampling import Floats, Interval
from stages.analysis.results import GIVEN
from stages.config.notation import (
    format_count,
    format_interval,
    format_number,
    format_p_value,
    format_signed,
    word_set,
)
from stages.config.params import CompareParams

Verdict = Literal["better", "worse", "no difference shown", "too little data to say"]
KEYWORDS: dict[str, str] = {
    "better": "better",
    "worse": "worse",
    "no difference shown": "no_difference",
    "too little data to say": "too_little_data",
}
"""Short, as in the columns of `dvc exp show`."""


def judge(
    differences: Floats, interval: Interval, p_value: float, params: CompareParams
) -> Verdict:
    """Judge the mean of differences, (P,), where higher is better, by its interval and p-value.

    Better and worse need both. "No difference shown" needs evidence too: differences of exactly
    zero, or an interval within ± `smallest_relevant_difference`, an equivalence test (Schuirmann
    1987) at half of alpha. Otherwise there is too little data to say.
    """
    if p_value < 1 - params.confidence_level and interval.low > 0:
        return "better"
    if p_value < 1 - params.confidence_level and interval.high < 0:
        return "worse"
    relevant = params.smallest_relevant_difference
    if not differences.any() or (-relevant <= interval.low and interval.high <= relevant):
        return "no difference shown"
    return "too little data to say"


def word_headline(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[Mapping[str, Any]], params: CompareParams
) -> str:
    """The verdicts of the sets, and where: the classes that are called on the given prompts.

    "Worse on in-domain and marketing prompts: worse on 7 of 10 classes on these prompts, most on
    deer".
    """
    sets: dict[str, list[str]] = {}
    for row in rows:
        claim = row["verdict"] + (", by less than matters," if _is_small(row, params) else "")
        sets.setdefault(claim, []).append(word_set(row["set"]))
    headline = ", ".join(f"{claim} on {_join(claim, names)}" for claim, names in sets.items())
    headline = ": ".join(filter(None, [headline, _word_where(classes)]))
    return headline[:1].upper() + headline[1:]


def _word_where(classes: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for verdict in ("better", "worse"):
        called = [row for row in classes if row[f"{GIVEN}verdict"] == verdict]
        if called:
            most = max(called, key=lambda row: abs(row["difference"]))["class"]
            which = f"most on {most}" if len(called) > 1 else most
            parts.append(f"{verdict} on {len(called)} of {len(classes)} classes ({which})")
    return f"on these prompts {' and '.join(parts)}" if parts else ""


def word_verdict(rows: Sequence[Mapping[str, Any]], params: CompareParams) -> str:
    """One sentence over the rows of `compare_sets`."""
    sentence = "; ".join(_word_row(row, params) for row in rows)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _is_small(row: Mapping[str, Any], params: CompareParams) -> bool:
    """Whether the set is better or worse by less than is relevant: with many prompts it can be."""
    relevant = params.smallest_relevant_difference
    is_within = -relevant <= row["ci_low"] and row["ci_high"] <= relevant
    return row["verdict"] in ("better", "worse") and is_within


def _join(claim: str, names: list[str]) -> str:
    word = " and " if claim.startswith(("better", "worse")) else " or "
    return f"{word.join(names)} prompts"


def _word_row(row: Mapping[str, Any], params: CompareParams) -> str:
    numbers = f"{format_signed(row['difference'])} CLIP cosine"
    if not math.isnan(row["ci_low"]):
        interval = format_interval(row["ci_low"], row["ci_high"])
        numbers += f", {params.confidence_level * 100:g} % interval {interval}"
    p_value = format_p_value(row["p_value"])
    numbers += f", p {p_value}" if p_value.startswith("<") else f", p = {p_value}"
    if row["verdict"] == "too little data to say":
        numbers += f"; {_word_sensitivity(row['smallest_detectable_difference'])}"
    claim = _CLAIMS[row["verdict"]]
    if _is_small(row, params):
        claim += f", by less than matters: than {params.smallest_relevant_difference:g}"
    prompts = format_count(row["num_prompts"], f"{word_set(row['set'])} prompt")
    return f"on {prompts} {claim} ({numbers})"


def _word_sensitivity(smallest: float) -> str:
    if math.isnan(smallest):
        return "so few prompts cannot show any difference"
    return f"a true difference below {format_number(smallest)} would often be missed"


_CLAIMS: dict[Verdict, str] = {
    "better": "the fine-tuned model is better",
    "worse": "the fine-tuned model is worse",
    "no difference shown": "no difference is shown",
    "too little data to say": "there is too little data to say",
}
