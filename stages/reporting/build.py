"""From what the stages wrote to what the page says."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from stages.analysis.experts import ExpertUse
from stages.analysis.results import GIVEN, Preference, Results
from stages.config.params import ReportParams
from stages.files.facts import Facts
from stages.reporting import evidence, figures, tradeoffs
from stages.reporting.blocks import build_blocks, choose_evenly, spread_evenly
from stages.reporting.drilldown import (
    choose_shown,
    describe_pictures,
    group_pictures,
    list_pictures,
)
from stages.reporting.embedded import embed_pictures
from stages.reporting.experts import draw_experts, show_experts
from stages.reporting.figures import ALL_PROMPTS
from stages.reporting.page import About, Page
from stages.reporting.preference import show_preference
from stages.reporting.subject import show_subject

NUM_TRAINING_PAIRS = 20
NUM_COLLAPSED = 48
NUM_LEFT_OUT = 200
MAX_MARKETING_PROMPTS = 100
"""Each is a row of a chart and of a table."""


class Inputs(NamedTuple):
    """What the page is made from.

    `scores` and `files` have an entry for each variant; `files` are the pictures by file name,
    `seeds` their noise's.
    `pairs` and `pair_images` are by id. All pictures are still encoded, and read when asked for.
    """

    results: Results
    scores: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Facts]
    files: Mapping[str, Mapping[str, bytes]]
    left_out: pd.DataFrame
    seeds: Mapping[str, int]
    pairs: pd.DataFrame
    pair_images: Mapping[str, bytes]
    finetune: Mapping[str, Any]
    cost: Mapping[str, float]
    loss: pd.DataFrame
    validation_loss: pd.DataFrame
    preference: Preference | None
    experts: ExpertUse | None


def build_page(inputs: Inputs, about: About, params: ReportParams) -> Page:
    """The page; of too many pictures it shows some of each prompt, and all that it names.

    Prompts of which no picture is shown are not listed either.
    """
    results, baseline, finetuned = inputs.results, *inputs.scores.values()
    labels = {name: facts.label for name, facts in inputs.facts.items()}
    scored = {name: label for name, label in labels.items() if name in finetuned}
    trained = inputs.pairs[inputs.pairs["split"] == "train"]
    collapsed = results.collapsed.head(NUM_COLLAPSED).to_dict("records")
    memorised = []
    if "nearest_training_cosine" in inputs.facts:
        memorised = evidence.list_memorised(baseline, finetuned, trained["caption"])
    preference = show_preference(inputs.preference)
    needed = {row["file_name"] for row in [*collapsed, *memorised]}
    pictures = choose_shown(
        list_pictures(baseline, finetuned, list(scored)),
        params.max_pictures,
        needed | (preference.files if preference else set()),
    )
    in_domain, is_marketing = (pictures["set"] == name for name in ("in_domain", "marketing"))
    prompts = results.by_prompt[results.by_prompt["prompt_id"].isin(pictures["prompt_id"])]
    marketing = prompts[prompts["set"] == "marketing"]
    marketing = marketing.iloc[spread_evenly(len(marketing), MAX_MARKETING_PROMPTS)]
    chosen = choose_evenly(trained["class"].fillna("").tolist(), NUM_TRAINING_PAIRS)
    training_pairs = trained.iloc[chosen].reset_index().to_dict("records")
    training_ids = [row["source_id"] for row in training_pairs]
    training_ids += [row["nearest_training_id"] for row in memorised]
    subject = show_subject(inputs.pairs, pictures, results)
    training_ids += subject.taught if subject else []
    files = {
        f"{variant}/{name}": named[name]
        for variant, named in inputs.files.items()
        for name in pictures["file_name"]
    }
    for name in training_ids:
        files[f"train/{name}"] = inputs.pair_images[name]
    named = pictures[in_domain].assign(**{"class": pictures["class"].replace("", ALL_PROMPTS)})
    class_blocks = build_blocks(named, "class", 1, inputs.files)
    blocks = {block.label: number for number, block in enumerate(class_blocks)}
    return Page(
        about=about,
        sets=results.by_set.to_dict("records"),
        papers_sets=results.papers_prompts.to_dict("records"),
        classes=[
            row | {"block": blocks.get(row["class"])} for row in results.by_class.to_dict("records")
        ],
        prompts=prompts.to_dict("records"),
        marketing=marketing.to_dict("records"),
        forgetting=evidence.list_forgetting(results.forgetting),
        metrics=evidence.list_metrics(results.by_metric, about.confidence_level),
        facts=inputs.facts,
        correlations=evidence.square_correlations(results.metric_correlations, results.by_metric),
        disagreements=evidence.group_disagreements(results.disagreements, inputs.facts),
        collapsed=collapsed,
        num_collapsed=len(results.collapsed),
        memorised=memorised,
        class_blocks=class_blocks,
        marketing_blocks=build_blocks(
            pictures[is_marketing], "prompt", params.grid_images_per_prompt, inputs.files
        ),
        pictures_of=group_pictures(pictures),
        training_pairs=training_pairs,
        left_out=inputs.left_out.head(NUM_LEFT_OUT).to_dict("records"),
        num_left_out=len(inputs.left_out),
        details=describe_pictures(pictures, scored, inputs.seeds),
        pictures=embed_pictures(files),
        charts=_draw_charts(
            inputs, results._replace(by_prompt=prompts), marketing, labels, about.confidence_level
        ),
        counts=results.verdict["counts"],
        finetune=inputs.finetune,
        cost=inputs.cost,
        subject=subject,
        preference=preference,
        experts=show_experts(inputs.experts),
    )


def _draw_charts(
    inputs: Inputs,
    results: Results,
    marketing: pd.DataFrame,
    labels: Mapping[str, str],
    confidence_level: float,
) -> dict[str, go.Figure]:
    """All charts by name; of `results` and `marketing` the prompts that the page lists."""
    label = "class" if marketing["class"].is_unique else "prompt"
    charts = {
        "effects": tradeoffs.draw_effects(results.by_metric, labels, confidence_level),
        "prompts": figures.draw_prompt_changes(results.by_prompt),
    }
    if len(classes := results.by_class):
        charts["classes"] = figures.draw_change(
            classes, "class", classes[f"{GIVEN}verdict"], confidence_level, GIVEN
        )
    if len(marketing):
        charts["marketing"] = figures.draw_change(
            marketing, label, marketing["verdict"], confidence_level
        )
    if len(inputs.validation_loss):
        charts["loss"] = figures.draw_loss(inputs.loss)
        charts["validation"] = figures.draw_validation_loss(inputs.validation_loss)
    if len(results.forgetting):
        first = results.forgetting.iloc[0].to_dict()
        charts["forgetting"] = tradeoffs.draw_forgetting(first, confidence_level)
    if inputs.experts is not None:
        charts["experts"] = draw_experts(inputs.experts)
    return charts
