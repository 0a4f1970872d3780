"""All that came before -> plots/report.html, a page that opens offline, report.md and plots/grids/.

Reads the tables and the verdict of `compare`, what people preferred, both variants' pictures and
scores, the training curves, the pairs, and what training and sampling cost, which it adds up in
metrics/cost.json.
"""

import logging
from collections.abc import Mapping
from importlib.metadata import version
from platform import python_version
from typing import Any

from stages.analysis.experts import measure_experts
from stages.analysis.paired import pair_scores
from stages.analysis.results import read_preference, read_results
from stages.config import paths
from stages.config.params import Params, load_params
from stages.files.atomic import replace_file
from stages.files.facts import read_facts
from stages.files.images import write_png
from stages.files.pictures import NamedPictures, find_samples_schema, read_rows
from stages.files.tables import (
    PAIRS_SCHEMA,
    SAMPLES_SCHEMA,
    read_csv,
    read_json,
    read_scores,
    write_json,
)
from stages.reporting.beside import Pairing, lay_beside
from stages.reporting.build import Inputs, build_page
from stages.reporting.grids import Colours, draw_grid
from stages.reporting.markdown import render_summary
from stages.reporting.page import About, Page, render_page
from stages.reporting.style import BASELINE, FINETUNED
from stages.reporting.words import word_null_control
from stages.run.cost import Cost, read_cost
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

HANDED_IN = "pictures"
"""The method in finetune.json where pictures were handed in."""
PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "scipy", "pandas", "plotly")
LOSS_SCHEMA = {"step": "int64", "loss": "float64"}
LEFT_OUT_SCHEMA = dict.fromkeys(("source", "item", "reason"), "str")
VALIDATION_LOSS_SCHEMA = {"step": "int64", "validation_loss": "float64"}


def main() -> None:
    """Write the report and the picture grids."""
    params = load_params()
    inputs = read_inputs(params)
    page = build_page(inputs, describe(params, inputs), params.report)
    write_grids(page)
    with replace_file(paths.REPORT) as partial:
        partial.write_text(render_page(page), encoding="utf-8")
    with replace_file(paths.SUMMARY) as partial:
        partial.write_text(render_summary(page), encoding="utf-8")
    write_json(inputs.cost, paths.COST)
    logger.info("%s: %s", paths.REPORT, page.about.headline)
    if note := describe_null_control(params, inputs):
        logger.info("%s", note)


def read_inputs(params: Params) -> Inputs:
    """Everything that the page is made from."""
    scores = {name: read_scores(path) for name, path in paths.SCORES.items()}
    files: dict[str, Mapping[str, bytes]] = {
        name: NamedPictures(path, "file_name") for name, path in paths.SAMPLES.items()
    }
    results = read_results(paths.COMPARISON_TABLES)
    if not results.verdict["is_paired"]:
        scores, files = lay_beside(scores, files)
    finetune = read_json(paths.TRAINING, "finetune")
    samples = read_rows(paths.SAMPLES["baseline"], SAMPLES_SCHEMA, "sample")
    finetuned = paths.SAMPLES["finetuned"]
    finetuned_samples = read_rows(finetuned, find_samples_schema(finetuned), "sample")
    seeds = samples.set_index("file_name")["seed"]
    return Inputs(
        results=results,
        scores=scores,
        facts=read_facts(paths.FACTS["finetuned"]),
        files=files,
        left_out=read_csv(paths.LEFT_OUT, LEFT_OUT_SCHEMA, "preflight"),
        seeds=seeds.to_dict() if seeds.any() else {},
        pairs=read_rows(paths.PAIRS, PAIRS_SCHEMA, "prepare").set_index("source_id"),
        pair_images=NamedPictures(paths.PAIRS, "source_id"),
        finetune=finetune,
        cost=summarise_cost(finetune),
        loss=read_csv(paths.LOSS, LOSS_SCHEMA, "finetune"),
        validation_loss=read_csv(paths.VALIDATION_LOSS, VALIDATION_LOSS_SCHEMA, "finetune"),
        preference=read_preference(paths.PREFERENCE_TABLES),
        experts=measure_experts(finetuned_samples, params.compare),
    )


def summarise_cost(finetune: dict) -> dict[str, float]:
    """The numbers of metrics/cost.json: what training and both variants' sampling took.

    None where pictures were handed in: what others spent on them is not known.
    """
    if finetune["method"] == HANDED_IN:
        return {}
    training = read_cost(paths.TRAINING_COST, "finetune")
    sampling = sum((read_cost(path, "sample") for path in paths.SAMPLING_COST.values()), Cost())
    total = training + sampling
    return {
        "trained_parameters": finetune["num_trainable_parameters"],
        "checkpoint_bytes": finetune["checkpoint_bytes"],
        "training_s": training.duration_s,
        "sampling_s": sampling.duration_s,
        "peak_memory_mib": total.peak_memory_mib,
        "energy_wh_estimated" if total.is_energy_estimated else "energy_wh": total.energy_wh,
    }


def describe(params: Params, inputs: Inputs) -> About:
    """What ran, and the verdict in words."""
    verdict = inputs.results.verdict
    handed_in = name_handed_in() if inputs.finetune["method"] == HANDED_IN else {}
    pairing: Pairing = "table" if handed_in else "noise"
    is_led = params.sample.clip_guidance_scale > 0 and not handed_in
    return About(
        base=params.base,
        model=params.chosen.model,
        scorer=describe_scorer(params, is_led),
        headline=verdict["headline"],
        sentence=" ".join([verdict["sentence"], describe_null_control(params, inputs)]).strip(),
        warning=f"{verdict['warning']} {warn_of_guide(params, is_led)}".strip(),
        confidence_level=params.compare.confidence_level,
        settings=list_settings(params, inputs.finetune["learning_rate"], handed_in),
        versions={"python": python_version(), **{name: version(name) for name in PACKAGES}},
        handed_in=handed_in,
        pairing=pairing if verdict["is_paired"] else "nothing",
    )


def describe_null_control(params: Params, inputs: Inputs) -> str:
    """How far from equal the variants are where they should be; empty where they need not be."""
    if inputs.finetune["method"] == HANDED_IN:
        return ""
    finetune = params.finetune
    is_untrained = finetune.method != "import" and inputs.finetune["num_steps"] == 0
    is_asked_alike = finetune.method != "textual_inversion" and not finetune.learns_subject
    if not is_asked_alike or not (is_untrained or params.imported.strength == 0):
        return ""
    pairs = pair_scores(inputs.scores["baseline"], inputs.scores["finetuned"])
    return word_null_control(pairs["baseline"], pairs["finetuned"])


def name_handed_in() -> dict[str, str]:
    """Where each variant's pictures are from."""
    tables = {name: read_rows(p, SAMPLES_SCHEMA, "sample") for name, p in paths.SAMPLES.items()}
    return {name: table["model"].iloc[0] for name, table in tables.items()}


def describe_scorer(params: Params, is_led: bool = False) -> str:
    """The scorer's name and weights; what led the pictures, if anything did."""
    base, scale = params.chosen, params.sample.clip_guidance_scale
    led = f"led by {base.guide} at scale {scale:g}" if is_led else None
    return ", ".join(part for part in (base.scorer, base.scorer_pretrained, led) if part)


def warn_of_guide(params: Params, is_led: bool) -> str:
    """That the scores are of no use, if the scorer led the pictures to them."""
    if not (is_led and params.sample.guide_is_scorer):
        return ""
    return (
        "The scorer judges pictures that it led itself (sample.guide_is_scorer): its scores rise "
        "without the pictures getting better, and every verdict here is circular."
    )


def list_settings(
    params: Params, learning_rate: float, handed_in: Mapping[str, str]
) -> dict[str, Mapping[str, Any]]:
    """The sections of params.yaml that were in force, with the learning rate that was.

    Of the bases, only the chosen one; of the prompts not their texts, which have a table. Where
    pictures were handed in, only what they are judged by.
    """
    values = params.model_dump(
        by_alias=True, exclude={"bases", "prompts", "launch", "study", "pictures"}
    )
    base = values.pop("base")
    if handed_in:
        in_force = {name: values[name] for name in ("score", "compare", "report")}
        return {"pictures": handed_in, "scorer": {"scorer": describe_scorer(params)}, **in_force}
    prompts = {"protocol": params.prompts.protocol, "file": params.prompts.file}
    values["finetune"]["learning_rate"] = learning_rate
    return {f"base: {base}": params.chosen.model_dump(), "prompts": prompts, **values}


def write_grids(page: Page) -> None:
    """The same pictures as PNG files, for `dvc plots`."""
    colours = Colours(BASELINE, FINETUNED)
    write_png(draw_grid(page.class_blocks, colours), paths.GRIDS / "classes.png")
    write_png(draw_grid(page.marketing_blocks, colours), paths.GRIDS / "marketing.png")


if __name__ == "__main__":
    run_stage(main)
