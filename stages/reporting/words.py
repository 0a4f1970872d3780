"""Plain words beside the numbers: how large, how small it could have been, and what is missing."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from stages.config.notation import MISSING, format_count, format_number, format_signed

EFFECT_SIZES = ((0.2, "negligible"), (0.5, "small"), (0.8, "medium"), (math.inf, "large"))
"""Upper bounds of |d| and their usual names: Cohen, Statistical Power Analysis, 1988, ch. 2."""
TRAINED = {
    "attn2": "the cross-attention",
    "attn2_kv": "keys and values of the cross-attention",
    "full": "the whole U-Net",
    "lora": "low-rank adapters (LoRA)",
    "hydra_lora": "low-rank adapters of several experts (HydraLoRA)",
    "textual_inversion": "a new word (textual inversion)",
    "import": "elsewhere (imported weights)",
}
"""What each `finetune.method` trains."""
QUESTIONS = {
    "fits_text": "Which picture fits the text better?",
    "looks_better": "Which picture looks better?",
}
"""Of `study.questions`."""
DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "neither": "neither"}

PAPERS_BASE = "sd15"
PAPERS_RESULT = {"num_pictures": 50, "baseline": 0.2452, "finetuned": 0.2443}
"""The paper's Table 1: CLIP cosines before and after, means over single pictures, no interval."""


SHORT_PROMPT = 80
"""Characters of a prompt where it only says which picture is meant."""


def shorten(text: str) -> str:
    """A prompt, cut where it is only a name."""
    return text if len(text) <= SHORT_PROMPT else f"{text[: SHORT_PROMPT - 1]}…"


def word_effect_size(effect_size: float) -> str:
    """`-0.29, small`; an en dash where there is no spread to measure it in."""
    if effect_size is None or math.isnan(effect_size):
        return MISSING
    size = next(name for bound, name in EFFECT_SIZES if abs(effect_size) < bound)
    return f"{format_signed(effect_size, 2)}, {size}"


def word_sensitivity(row: Mapping[str, Any]) -> str:
    """What so many prompts could have shown; `row` is one of `compare_sets`."""
    smallest = row["smallest_detectable_difference"]
    if smallest is None or math.isnan(smallest) or smallest <= 0:
        return ""
    return (
        f"{format_count(row['num_prompts'], 'prompt')} with "
        f"{format_count(row['num_images'], 'picture')} would show a true difference of "
        f"{format_number(smallest)} four times out of five; a smaller one may stay unseen."
    )


def word_remedy(row: Mapping[str, Any], seconds_per_picture: float) -> str:
    """How many more prompts would settle the question, and how long they take on this machine.

    Args:
        row: One of `compare_sets`.
        seconds_per_picture: To sample one of each variant; 0 if it is not known.
    """
    if row["verdict"] != "too little data to say" or math.isnan(row["more_prompts"]):
        return ""
    count = int(row["more_prompts"])
    prompts = f"{format_count(count, 'more prompt')} of one picture"
    if seconds_per_picture:
        prompts += f", about {format_duration(count * seconds_per_picture)},"
    return f"{prompts} would most likely settle it."


def word_null_control(baseline: Iterable[float], finetuned: Iterable[float]) -> str:
    """How far from equal CLIP is of pictures between which nothing was trained."""
    gaps = [after - before for before, after in zip(baseline, finetuned, strict=True)]
    num_apart = sum(gap != 0 for gap in gaps)
    if not num_apart:
        return "Nothing was trained, and CLIP is equal for all pictures, as it should be."
    return (
        "Nothing was trained, so CLIP should be equal for all pictures, and is not for "
        f"{num_apart} of {len(gaps)}: it differs by {math.fsum(gaps) / len(gaps):.2g} on average "
        f"and by {max(map(abs, gaps)):.2g} at most. On a GPU this is its rounding (docs/gpu.md); "
        "on a CPU please report it as a bug."
    )


def format_duration(seconds: float) -> str:
    """About so long, in the unit that people would say."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def choose_digits(*values: float) -> int:
    """Decimals for a row of numbers: three significant digits of the largest, and four below 1."""
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0)
    if largest == 0:
        return 4
    significant = 2 - math.floor(math.log10(largest))
    return min(7, max(4 if largest < 1 else 1, significant))


def join_units(text: str) -> str:
    """Keep `95 %` and `p < 0.001` on one line each."""
    text = re.sub(r"(?<=\d) %", "\u202f%", text)
    return re.sub(r"\bp ([=<]) (?=\d)", "p\u00a0\\1\u00a0", text)
