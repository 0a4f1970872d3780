"""From what the stages wrote to what the page says."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from stages.config.params import ReportParams
from stages.config.results import Results
from stages.files.images import decode_image, encode_png
from stages.files.row_groups import LazyColumn
from stages.reporting import evidence
from stages.reporting.blocks import build_blocks, choose_evenly, spread_evenly
from stages.reporting.drilldown import (
    choose_shown,
    describe_pictures,
    group_pictures,
    list_pictures,
)
from stages.reporting.embedded import embed_pictures
from stages.reporting.overview import draw_charts
from stages.reporting.page import About, Page
from stages.reporting.thing import Thing, name_thing_pictures, show_thing

NUM_TRAINING_PAIRS = 20
MAX_MARKETING_PROMPTS = 100
"""Each is a row of a chart and of a table."""


class Inputs(NamedTuple):
    """What the page is made from.

    `scores`, `counts` and `files` have an entry for each variant; `files` are the pictures by file
    name. `pairs` are those trained on: caption, class; `training_images` their pictures by row. All
    pictures are still encoded, and read when asked for. `thing` is None unless the method teaches a
    single one.
    """

    results: Results
    scores: Mapping[str, pd.DataFrame]
    provenance: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Mapping[str, bytes]]
    pairs: pd.DataFrame
    training_images: LazyColumn
    finetune: Mapping[str, Any]
    loss: pd.DataFrame
    validation_loss: pd.DataFrame
    thing: Thing | None


def build_page(inputs: Inputs, about: About, params: ReportParams) -> Page:
    """The page; of too many pictures it shows some of each prompt, and all that it names.

    Prompts of which no picture is shown are not listed either.
    """
    results, finetuned = inputs.results, inputs.scores["finetuned"]
    labels = {name: str(source["label"]) for name, source in inputs.provenance.items()}
    directions = {name: str(source["better"]) for name, source in inputs.provenance.items()}
    scored = {name: label for name, label in labels.items() if name in finetuned}
    pictures = list_pictures(inputs.scores["baseline"], finetuned, list(scored))
    trained = choose_evenly(inputs.pairs["class"].fillna("").tolist(), NUM_TRAINING_PAIRS)
    collapse = evidence.list_collapsed(finetuned)
    memorised = evidence.list_memorised(
        inputs.scores["baseline"], finetuned, inputs.pairs["caption"]
    )
    named = {row["file_name"] for row in [*collapse.pictures, *memorised]}
    pictures = choose_shown(pictures, params.max_pictures, named)
    in_domain = pictures["set"] == "class"
    prompts = results.by_prompt[results.by_prompt["prompt_id"].isin(pictures["prompt_id"])]
    marketing = prompts[prompts["set"] == "marketing"]
    marketing = marketing.iloc[spread_evenly(len(marketing), MAX_MARKETING_PROMPTS)]
    return Page(
        about=about,
        sets=results.by_set.to_dict("records"),
        classes=results.by_class.to_dict("records"),
        prompts=prompts.to_dict("records"),
        marketing=marketing.to_dict("records"),
        forgetting=evidence.list_forgetting(results.forgetting),
        metrics=evidence.list_metrics(results.by_metric),
        provenance=inputs.provenance,
        correlations=evidence.square_correlations(results.metric_correlations, results.by_metric),
        disagreements=evidence.group_disagreements(results.disagreements, directions),
        collapse=collapse,
        memorised=memorised,
        class_blocks=build_blocks(pictures[in_domain], "class", 1, inputs.files),
        marketing_blocks=build_blocks(
            pictures[~in_domain], "prompt", params.grid_images_per_prompt, inputs.files
        ),
        pictures_of=group_pictures(pictures),
        training_pairs=[{"row": row, "caption": inputs.pairs["caption"][row]} for row in trained],
        details=describe_pictures(pictures, scored),
        pictures=embed_pictures(
            _name_pictures(
                inputs,
                pictures["file_name"].tolist(),
                {*trained, *(row["nearest_training_row"] for row in memorised)},
            )
        ),
        charts=draw_charts(
            results._replace(by_prompt=prompts),
            marketing,
            (inputs.loss, inputs.validation_loss),
            labels,
            about.confidence_level,
        ),
        counts=inputs.counts,
        finetune=inputs.finetune,
        thing=show_thing(inputs.thing),
    )


def _name_pictures(
    inputs: Inputs, file_names: Sequence[str], training_rows: set[int]
) -> dict[str, bytes]:
    """Sampled pictures and training pictures to show, by the names that the page uses."""
    sampled = {
        f"{variant}/{name}": files[name]
        for variant, files in inputs.files.items()
        for name in file_names
    }
    images = inputs.training_images
    trained = {
        f"train/{row}": encode_png(decode_image(images[row], f"training picture {row}"))
        for row in sorted(training_rows)
    }
    return sampled | trained | name_thing_pictures(inputs.thing)
