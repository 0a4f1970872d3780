"""The answer in Markdown: half a page for a pull request, and a card that goes with the weights."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import jinja2
import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from stages.config import notation
from stages.reporting import words
from stages.reporting.evidence import Rows
from stages.reporting.page import Page, build_environment

MAX_SHOWN = 400
"""Characters of a text that users wrote."""
MARKUP = re.compile(r"[&<>|`*_\[\]~\\$!@#]")
CALLS = "@#"
"""Before a name or number, hosts take these for a person or an issue."""


def render_summary(page: Page) -> str:
    """The verdict, its table and the cost, for `$GITHUB_STEP_SUMMARY` or a comment."""
    about = page.about
    return (
        _build_environment()
        .get_template("summary.md.j2")
        .render(
            page=page,
            table=tabulate_verdict(page.sets, about.confidence_level),
            strength=about.settings.get("import", {}).get("strength", 1),
        )
    )


def render_card(data: ModelCardData, evidence: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """A model card: huggingface_hub's header, then what was found and how to load the weights.

    Args:
        data: For the header.
        evidence: `verdict`, `sets`, `cost`, `digests`, `confidence_level`; empty if not judged yet.
        about: `name`, `model`, `revision`, `method`, `applied`, `strength`, `license`, `snippet`,
            `finetune`.
    """
    table = ""
    if evidence:
        table = tabulate_verdict(evidence["sets"], evidence["confidence_level"])
    body = (
        _build_environment()
        .get_template("card.md.j2")
        .render(evidence=evidence, table=table, **about)
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def tabulate_verdict(sets: Rows, confidence_level: float) -> str:
    """A row a set of prompts, as the README has them."""
    heads = ["prompts", "n", "pictures", "baseline", "fine-tuned", "difference"]
    heads += [f"{confidence_level * 100:g} % interval", "p", "verdict", "zero-shot accuracy"]
    lines = [heads, ["---"] * len(heads)]
    for row in sets:
        accuracies = (row[f"zero_shot_accuracy_{v}"] for v in ("baseline", "finetuned"))
        lines.append(
            [
                notation.word_set(row["set"]),
                str(row["num_prompts"]),
                str(row["num_images"]),
                notation.format_number(row["baseline"]),
                notation.format_number(row["finetuned"]),
                notation.format_signed(row["difference"]),
                notation.format_interval(row["ci_low"], row["ci_high"]),
                notation.format_p_value(row["p_value"]),
                row["verdict"],
                " → ".join(notation.format_number(value, 3) for value in accuracies),
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def describe_results(sets: Rows, digests: Mapping[str, str]) -> list[EvalResult]:
    """The CLIP cosines of the fine-tuned model, for the header of a card."""
    return [
        EvalResult(
            task_type="text-to-image",
            dataset_type="prompts",
            dataset_name=f"{row['num_prompts']} {notation.word_set(row['set'])} prompts",
            dataset_revision=digests[row["set"]],
            metric_type="clip_cosine",
            metric_name="CLIP cosine",
            metric_value=row["finetuned"],
        )
        for row in sets
    ]


def digest_prompts(prompts: pd.DataFrame) -> dict[str, str]:
    """The SHA-256 of each set's prompts, a line each, 16 hex digits; as `sha256sum` has it."""
    return {
        str(name): hashlib.sha256("".join(f"{text}\n" for text in texts).encode()).hexdigest()[:16]
        for name, texts in prompts.groupby("set", sort=False)["prompt"]
    }


def escape(text: str) -> str:
    """A text that Markdown shows as it is, on one line, and cut where it is long."""
    text = " ".join(text.split())
    text = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
    return MARKUP.sub(lambda match: _escape_character(match[0]), text)


def _escape_character(character: str) -> str:
    return f"{character}<!-- -->" if character in CALLS else f"&#{ord(character)};"


def _build_environment() -> jinja2.Environment:
    """As for the page, but text that is put in is escaped for Markdown."""
    environment = build_environment().overlay(
        autoescape=False,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Ready) else escape(str(value)),
    )
    more = {"duration": words.format_duration, "ready": Ready}
    environment.filters = {**environment.filters, **more}  # the page's stay as they are
    return environment


class Ready(str):
    """Markdown of ours, which is not escaped again."""
