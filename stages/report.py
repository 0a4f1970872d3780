"""All that came before -> plots/report.html, one page that opens offline, and plots/grids/.

Reads the tables of `compare`, both variants' pictures, scores and metrics, the training curves and
the pairs.
"""

import logging
from importlib.metadata import version
from platform import python_version
from typing import Any

import pandas as pd

from stages.analysis.collapse import word_collapse
from stages.analysis.verdict import word_headline, word_verdict
from stages.config import paths
from stages.config.params import Params, load_params
from stages.config.results import read_results
from stages.files.atomic import replace_file
from stages.files.images import write_png
from stages.files.instance import RESEMBLANCE_SCHEMA, read_instance_pictures
from stages.files.pairs import open_pictures, read_pairs
from stages.files.samples import Pictures
from stages.files.tables import SCORES_SCHEMA, read_csv, read_json
from stages.reporting.build import Inputs, build_page
from stages.reporting.grids import Colours, draw_grid
from stages.reporting.page import About, Page, render_page
from stages.reporting.style import BASELINE, FINETUNED
from stages.reporting.thing import Thing
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "scipy", "pandas", "plotly")
LOSS_SCHEMA = {"step": "int64", "loss": "float64"}
VALIDATION_LOSS_SCHEMA = {"step": "int64", "validation_loss": "float64"}
PICTURE_SCHEMA = {
    **SCORES_SCHEMA,
    "nearest_training_cosine": "float64",
    "nearest_training_row": "int64",
    "is_duplicate": "bool",
}


def main() -> None:
    """Write the report and the picture grids."""
    params = load_params()
    inputs = read_inputs()
    page = build_page(inputs, describe(params, inputs), params.report)
    write_grids(page)
    with replace_file(paths.REPORT) as partial:
        partial.write_text(render_page(page), encoding="utf-8")
    logger.info("%s: %s", paths.REPORT, page.about.headline)


def read_inputs() -> Inputs:
    """Everything that the page is made from."""
    scores = {
        variant: read_csv(paths.SCORES / f"{variant}.csv", PICTURE_SCHEMA, "score")
        for variant in paths.VARIANTS
    }
    return Inputs(
        results=read_results(paths.PLOTS),
        scores=scores,
        provenance=read_json(paths.SCORES / "finetuned.json", "score"),
        counts={name: read_json(paths.METRICS / f"{name}.json", "score") for name in scores},
        files={
            name: Pictures(paths.SAMPLES / name, rows["file_name"].tolist())
            for name, rows in scores.items()
        },
        pairs=read_training_pairs(),
        training_images=open_pictures(paths.PAIRS),
        finetune=read_json(paths.FINETUNE_METRICS, "finetune"),
        loss=read_csv(paths.LOSS, LOSS_SCHEMA, "finetune"),
        validation_loss=read_csv(paths.VALIDATION_LOSS, VALIDATION_LOSS_SCHEMA, "finetune"),
        thing=read_thing(),
    )


def read_thing() -> Thing | None:
    """What `resemblance` found of the one thing that was taught; None where none was."""
    metrics = read_json(paths.INSTANCE_METRICS, "resemblance")
    if not metrics:
        return None
    pairs = read_csv(paths.RESEMBLANCE, RESEMBLANCE_SCHEMA, "resemblance")
    taught = read_instance_pictures(paths.INSTANCE)
    return Thing(
        metrics=metrics,
        pairs=pairs,
        taught=taught[taught["split"] == "train"]["image"].tolist(),
        files={
            f"{variant}/{name}": (paths.INSTANCE_SAMPLES / variant / name).read_bytes()
            for variant in paths.VARIANTS
            for name in pairs["file_name"]
        },
    )


def read_training_pairs() -> pd.DataFrame:
    """The pairs that were trained on, without their pictures, by the row that `score` names."""
    pairs = read_pairs(paths.PAIRS, ["caption", "class", "split"])
    return pairs[pairs["split"] == "train"].reset_index(drop=True)


def describe(params: Params, inputs: Inputs) -> About:
    """What ran, and the verdict in words."""
    sets = inputs.results.by_set.to_dict("records")
    return About(
        base=params.base,
        model=params.chosen.model,
        scorer=describe_scorer(params),
        headline=word_headline(sets, params.compare),
        sentence=word_verdict(sets, params.compare),
        warning=word_collapse(*(inputs.counts[variant] for variant in paths.VARIANTS), sets),
        confidence_level=params.compare.confidence_level,
        settings=list_settings(params),
        versions={"python": python_version(), **{name: version(name) for name in PACKAGES}},
    )


def describe_scorer(params: Params) -> str:
    """The scorer's name and weights."""
    parts = (params.chosen.scorer, params.chosen.scorer_pretrained)
    return ", ".join(part for part in parts if part)


def list_settings(params: Params) -> dict[str, dict[str, Any]]:
    """The sections of params.yaml that were in force: of the bases, only the chosen one."""
    values = params.model_dump(by_alias=True, exclude={"bases", "launch"})
    base = values.pop("base")
    return {f"base: {base}": params.chosen.model_dump(), **values}


def write_grids(page: Page) -> None:
    """The same pictures as PNG files, for `dvc plots`."""
    colours = Colours(BASELINE, FINETUNED)
    write_png(draw_grid(page.class_blocks, 2, colours), paths.GRIDS / "classes.png")
    write_png(draw_grid(page.marketing_blocks, 1, colours), paths.GRIDS / "marketing.png")


if __name__ == "__main__":
    run_stage(main)
