"""What CLIP guidance gains by the guide's own word and by the judge's, along the scale.

`python -m stages.commands.guidance EXPERIMENT EXPERIMENT [EXPERIMENT ...]`, which differ in
`sample.clip_guidance_scale` alone. The smallest scale, usually 0, is what the others are compared
with, on the same prompts and noise. Writes plots/guidance.html and plots/guidance.csv; results are
read from git and DVC's cache, and the guide looks at the pictures again, nothing else is run.
"""

import io
import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from stages.analysis.duel import align_arms, compare_arms
from stages.analysis.results import GUIDANCE_SCHEMA
from stages.commands.experiments import (
    check_distinct,
    check_same,
    copy_file,
    read_params,
    read_text,
    read_values,
)
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.notation import format_interval, format_signed, word_set
from stages.config.params import CompareParams, Params, load_params
from stages.files.atomic import replace_file
from stages.files.images import decode_image
from stages.files.pictures import LazyColumn, read_rows
from stages.files.tables import SAMPLES_SCHEMA, parse_scores, write_table
from stages.reporting.guidance import render_guidance
from stages.run.entry import run_stage
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.metrics.clip import CLIP_COSINE, compute_clip_cosine
from stages.scoring.metrics.guide import GUIDE_COSINE
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.scorer import Scorer, load_scorer

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
AHEAD = replace(GUIDE_COSINE, name="ahead", column="ahead")
"""The guide's cosine minus the judge's: what the guide gains and the judge does not see."""
METRICS = {"guide": GUIDE_COSINE, "judge": CLIP_COSINE, "ahead": AHEAD}
FACTS = {metric.name: metric.describe(PIXELS) for metric in METRICS.values()}
"""Of what is compared; whose numbers they are makes no difference here."""


def main(*names: str) -> None:
    """Write the table of the experiments, by name."""
    check_distinct(names)
    params = {name: read_params(name) for name in names}
    check_same(params, keep_all_but_scale)
    scales = {values.sample.clip_guidance_scale: name for name, values in params.items()}
    if len(scales) < max(2, len(names)):
        raise UserError(
            "sample.clip_guidance_scale: should be another one in each of two or more experiments, "
            f"but {', '.join(names)} have {', '.join(f'{scale:g}' for scale in scales)}"
        )
    base = params[names[0]].chosen
    guide = load_scorer(base.guide, base.guide_pretrained, base.guide_revision, "guide")
    rows = [
        row
        for variant in paths.VARIANTS
        for row in compare_scales(variant, dict(sorted(scales.items())), guide)
    ]
    table = pd.DataFrame(rows)[list(GUIDANCE_SCHEMA)]
    write_table(table, paths.GUIDANCE)
    with replace_file(paths.GUIDANCE_PAGE) as partial:
        page = render_guidance(table, load_params().compare.confidence_level)
        partial.write_text(page, encoding="utf-8")
    for row in rows:
        logger.info(
            "%s, %s: scale %g: guide %s, judge %s (%s)",
            row["variant"],
            word_set(row["set"]),
            row["scale"],
            format_signed(row["guide_gain"]),
            format_signed(row["judge_gain"]),
            format_interval(row["judge_ci_low"], row["judge_ci_high"]),
        )
    logger.info("%s", paths.GUIDANCE_PAGE)


def compare_scales(variant: str, scales: dict[float, str], guide: Scorer) -> list[dict[str, Any]]:
    """Rows of `GUIDANCE_SCHEMA`: a set and scale but the first, which they are compared with."""
    params = load_params().compare
    tables = {scale: read_judged(name, variant, guide) for scale, name in scales.items()}
    costs = {
        scale: read_values(name, paths.SAMPLING_COST[variant], "sample")["duration_s"]
        / len(tables[scale])
        for scale, name in scales.items()
    }
    first, *others = scales
    rows = []
    for scale in others:
        for set_name, gains in compare(tables[scale], tables[first], params).items():
            row = {"variant": variant, "set": set_name, "scale": scale, "first_scale": first}
            row |= {"seconds_per_picture": costs[scale], "first_seconds_per_picture": costs[first]}
            for who, metric in METRICS.items():
                gain = gains[metric.name]
                row |= {"num_prompts": gain["num_prompts"], f"{who}_gain": gain["difference"]}
                row |= {f"{who}_{end}": gain[end] for end in ("ci_low", "ci_high")}
            rows.append(row)
    return rows


def compare(
    led: pd.DataFrame, unled: pd.DataFrame, params: CompareParams
) -> dict[str, dict[str, Any]]:
    """What each metric gained in each set, as rows of `DUELS_SCHEMA`."""
    duels = compare_arms(align_arms({"led": [led], "unled": [unled]}), FACTS, params)
    return {
        str(name): {row["metric"]: row for row in group.to_dict("records")}
        for name, group in duels.groupby("set", sort=False)
    }


def read_judged(name: str, variant: str, guide: Scorer) -> pd.DataFrame:
    """An experiment's scores, with the guide's cosine of each picture, whether it led or not."""
    where = paths.SCORES[variant]
    scores = parse_scores(io.StringIO(read_text(name, where)), f"{name}:{where}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pictures.parquet"
        copy_file(name, paths.SAMPLES[variant], copy)
        cosines = measure(copy, guide)
    scores = scores.assign(guide_cosine=scores["file_name"].map(cosines))
    return scores.assign(ahead=scores["guide_cosine"] - scores["clip_cosine"])


def measure(samples: Path, guide: Scorer) -> dict[str, float]:
    """The guide's cosine of each picture and its prompt, by file name."""
    rows, pictures = read_rows(samples, SAMPLES_SCHEMA, "sample"), LazyColumn(samples)
    prompts = list(rows["prompt"].unique())
    texts, places = embed_texts(guide, prompts), {text: row for row, text in enumerate(prompts)}
    found: list[float] = []
    for first in range(0, len(rows), BATCH_SIZE):
        part = rows[first : first + BATCH_SIZE]
        images = [decode_image(pictures[row], file) for row, file in part["file_name"].items()]
        wanted = texts[part["prompt"].map(places).tolist()]
        found += compute_clip_cosine(embed_images(guide, images), wanted).tolist()
    return dict(zip(rows["file_name"], found, strict=True))


def keep_all_but_scale(params: Params) -> dict[str, Any]:
    """All params but the scale, and what changes no picture or score."""
    values = params.model_dump(exclude={"bases", "compare", "report", "study", "launch"})
    del values["sample"]["clip_guidance_scale"]
    return values | {f"bases.{params.base}": params.chosen.model_dump()}


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
