"""The measured table of the model card: what was measured, beside the bar it was built for."""

import json
import re

from stages.tiny import recipe
from stages.tiny.measure import BARS, RESULTS

CARD = recipe.GENERATOR / "README.md"
TABLE = re.compile(r"(<!-- quality -->\n).*?(<!-- /quality -->)", re.DOTALL)
MEANINGS = {
    "vae_psnr_db": "VAE reconstruction of illustrations, PSNR in dB",
    "scorer_accuracy_illustration": "scorer, zero-shot accuracy over 16 things, illustrations",
    "scorer_accuracy_photo": "scorer, zero-shot accuracy over 10 classes, photo look",
    "scorer_cosine_gap": "scorer, cosine of matching minus mismatched pairs, the worse look",
    "generated_accuracy_class": "generated from class prompts, zero-shot accuracy over 16",
    "generated_accuracy_marketing": "generated from marketing prompts, the same",
    "colours_obeyed": "colours obeyed, share of the pairs",
    "seconds_per_picture": "seconds a picture, batch 32, two CPU threads",
    "megabytes": "weights of both models, MB",
}


def write_card() -> None:
    """Put the results beside the weights into the card's table."""
    text = CARD.read_text(encoding="utf-8")
    CARD.write_text(TABLE.sub(lambda m: m[1] + render_table() + m[2], text), encoding="utf-8")


def render_table() -> str:
    """The measured results as a Markdown table, in the order of the bars."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = ["| what | bar | measured |", "| --- | --- | --- |"]
    for name, bar in BARS.items():
        sign = "≤" if bar.is_ceiling else "≥"
        rows.append(f"| {MEANINGS[name]} | {sign} {bar.value:g} | {results[name]:.3g} |")
    return "\n".join(rows) + "\n"
