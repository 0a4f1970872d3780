"""All that came before -> plots/report.html, one page that opens offline, and plots/grids/.

Reads the tables of `compare`, both variants' pictures, scores and metrics, the training curves and
some pairs.
"""

import logging
from importlib.metadata import version
from platform import python_version
from typing import Any

import pandas as pd
from PIL import Image

from stages.analysis.paired import pair_scores
from stages.analysis.tables import BY_CLASS_SCHEMA, BY_PROMPT_SCHEMA, BY_SET_SCHEMA
from stages.analysis.verdict import word_bad_images, word_headline, word_verdict
from stages.artifacts.atomic import replace_file
from stages.artifacts.images import decode_image, write_png
from stages.artifacts.tables import read_csv, read_json, read_pairs, read_scores
from stages.charts import figures
from stages.charts.blocks import Block, build_blocks, choose_evenly
from stages.charts.grids import Colours, draw_grid
from stages.charts.page import Page, TrainingPair, render_page
from stages.config import paths
from stages.config.entry import run_stage
from stages.config.params import Params, load_params

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "scipy", "pandas", "plotly")
NUM_TRAINING_PAIRS = 20
LOSS_SCHEMA = {"step": "int64", "loss": "float64"}
VALIDATION_LOSS_SCHEMA = {"step": "int64", "validation_loss": "float64"}


def main() -> None:
    """Write the report and the picture grids."""
    params = load_params()
    by_set = read_csv(paths.COMPARISON_BY_SET, BY_SET_SCHEMA, "compare")
    by_class = read_csv(paths.COMPARISON_BY_CLASS, BY_CLASS_SCHEMA, "compare")
    by_prompt = read_csv(paths.COMPARISON_BY_PROMPT, BY_PROMPT_SCHEMA, "compare")
    class_blocks, marketing_blocks = choose_pictures(params.report.grid_images_per_prompt)
    counts = {name: read_json(paths.METRICS / f"{name}.json", "score") for name in paths.VARIANTS}
    num_bad = read_json(paths.COMPARISON, "compare")["num_bad_images"]
    sets = by_set.to_dict("records")

    page = Page(
        base=params.base,
        model=params.chosen.model,
        scorer=describe_scorer(params),
        headline=word_headline(sets),
        sentence=word_verdict(sets, params.compare.confidence_level),
        warning=word_bad_images(num_bad, counts["finetuned"]["num_images"]),
        confidence_level=params.compare.confidence_level,
        sets=sets,
        classes=by_class.to_dict("records"),
        prompts=by_prompt.to_dict("records"),
        class_blocks=class_blocks,
        marketing_blocks=marketing_blocks,
        training_pairs=read_training_pairs(),
        charts=draw_charts(by_class, by_prompt, params.compare.confidence_level),
        counts=counts,
        num_bad=num_bad,
        finetune=read_json(paths.FINETUNE_METRICS, "finetune"),
        settings=list_settings(params),
        versions={"python": python_version(), **{name: version(name) for name in PACKAGES}},
    )
    colours = Colours(figures.BASELINE, figures.FINETUNED)
    write_png(draw_grid(class_blocks, 2, colours), paths.GRIDS / "classes.png")
    write_png(draw_grid(marketing_blocks, 1, colours), paths.GRIDS / "marketing.png")
    with replace_file(paths.REPORT) as partial:
        partial.write_text(render_page(page), encoding="utf-8")
    logger.info("%s: %s", paths.REPORT, page.headline)


def choose_pictures(num_marketing: int) -> tuple[list[Block], list[Block]]:
    """One picture of each class prompt, by class, and several of each marketing prompt."""
    pairs = pair_scores(*(read_scores(paths.SCORES / f"{name}.csv") for name in paths.VARIANTS))
    in_domain = pairs["set"] == "class"
    return (
        build_blocks(pairs[in_domain], "class", 1, read_picture),
        build_blocks(pairs[~in_domain], "prompt", num_marketing, read_picture),
    )


def read_picture(variant: str, file_name: str) -> Image.Image:
    """One sampled picture."""
    path = paths.SAMPLES / variant / file_name
    return decode_image(path.read_bytes(), str(path))


def read_training_pairs() -> list[TrainingPair]:
    """Some pairs that were trained on, of all classes alike."""
    pairs = read_pairs(paths.PAIRS, ["image", "caption", "class", "split"])
    pairs = pairs[pairs["split"] == "train"].reset_index(drop=True)
    rows = choose_evenly(pairs["class"].fillna("").tolist(), NUM_TRAINING_PAIRS)
    return [
        TrainingPair(decode_image(row.image, f"{paths.PAIRS}, row {row.Index}"), row.caption)
        for row in pairs.iloc[rows].itertuples()
    ]


def draw_charts(by_class: pd.DataFrame, by_prompt: pd.DataFrame, level: float) -> dict[str, Any]:
    """The page's charts by name."""
    marketing = by_prompt[by_prompt["set"] == "marketing"]
    label = "class" if marketing["class"].is_unique else "prompt"
    loss = read_csv(paths.LOSS, LOSS_SCHEMA, "finetune")
    validation_loss = read_csv(paths.VALIDATION_LOSS, VALIDATION_LOSS_SCHEMA, "finetune")
    return {
        "classes": figures.draw_change(by_class, "class", level),
        "marketing": figures.draw_change(marketing, label, level),
        "prompts": figures.draw_prompt_changes(by_prompt),
        "loss": figures.draw_loss(loss),
        "validation": figures.draw_validation_loss(validation_loss),
    }


def describe_scorer(params: Params) -> str:
    """The scorer's name and weights."""
    parts = (params.chosen.scorer, params.chosen.scorer_pretrained)
    return ", ".join(part for part in parts if part)


def list_settings(params: Params) -> dict[str, dict[str, Any]]:
    """The sections of params.yaml that were in force: of the bases, only the chosen one."""
    values = params.model_dump(by_alias=True)
    del values["bases"]
    base = values.pop("base")
    return {f"base: {base}": params.chosen.model_dump(), **values}


if __name__ == "__main__":
    run_stage(main)
