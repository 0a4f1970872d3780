"""What CLIP guidance gains by the guide's own word and by the judge's, along the scale.

`python -m stages.commands.guidance EXPERIMENT EXPERIMENT [EXPERIMENT ...]`, which differ in
`sample.clip_guidance_scale` alone. The smallest scale, usually 0, is what the others are compared
with, on the same prompts and noise. Writes plots/guidance.csv and shows it as Markdown; results are
read from git and DVC's cache, and the guide looks at the pictures again, nothing else is run.
"""

import io
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from stages.analysis.duel import METRIC, align_arms, compare_arms
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
from stages.files.images import decode_image
from stages.files.pictures import LazyColumn, read_rows
from stages.files.tables import SAMPLES_SCHEMA, parse_scores, write_table
from stages.run.entry import run_stage
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.metrics.clip import CLIP_COSINE, compute_clip_cosine
from stages.scoring.metrics.guide import GUIDE_COSINE
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.scorer import Scorer, load_scorer

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
FACTS = {metric.name: metric.describe(PIXELS) for metric in (CLIP_COSINE, GUIDE_COSINE)}
"""Of the two that are compared; whose numbers they are makes no difference here."""
COLUMNS = ["variant", "set", "scale", "num_prompts", "guide_gain", "guide_interval"]
COLUMNS += ["judge_gain", "judge_interval", "guide_minus_judge", "seconds_per_picture"]


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
    write_table(pd.DataFrame(rows)[COLUMNS], paths.GUIDANCE)
    for cells in [COLUMNS, ["---"] * len(COLUMNS), *([row[c] for c in COLUMNS] for row in rows)]:
        logger.info("| %s |", " | ".join(map(str, cells)))


def compare_scales(variant: str, scales: dict[float, str], guide: Scorer) -> list[dict[str, Any]]:
    """A row a set and scale but the first, which is what it is compared with."""
    params = load_params().compare
    tables = {scale: read_judged(name, variant, guide) for scale, name in scales.items()}
    first, *others = scales
    rows = []
    for scale in others:
        gains = compare(tables[scale], tables[first], params)
        cost = read_values(scales[scale], paths.SAMPLING_COST[variant], "sample")
        for set_name, gain in gains.items():
            guide_gain, judge_gain = gain[GUIDE_COSINE.name], gain[METRIC]
            ahead = guide_gain["difference"] - judge_gain["difference"]
            rows.append(
                {"variant": variant, "set": word_set(set_name), "scale": scale}
                | {"num_prompts": judge_gain["num_prompts"]}
                | _word("guide", guide_gain)
                | _word("judge", judge_gain)
                | {"guide_minus_judge": format_signed(ahead)}
                | {"seconds_per_picture": round(cost["duration_s"] / len(tables[scale]), 2)}
            )
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
    return scores.assign(guide_cosine=scores["file_name"].map(cosines))


def measure(samples: Path, guide: Scorer) -> dict[str, float]:
    """The guide's cosine of each picture and its prompt, by file name."""
    rows, pictures = read_rows(samples, SAMPLES_SCHEMA, "sample"), LazyColumn(samples)
    prompts = list(rows["prompt"].unique())
    texts, places = embed_texts(guide, prompts), {text: row for row, text in enumerate(prompts)}
    found: list[float] = []
    for first in range(0, len(rows), BATCH_SIZE):
        part = rows[first : first + BATCH_SIZE]
        images = [decode_image(pictures[row], file) for row, file in part["file_name"].items()]
        wanted = texts[part["prompt"].map(places).to_numpy()]
        found += compute_clip_cosine(embed_images(guide, images), wanted).tolist()
    return dict(zip(rows["file_name"], found, strict=True))


def keep_all_but_scale(params: Params) -> dict[str, Any]:
    """All params but the scale, and what changes no picture or score."""
    values = params.model_dump(exclude={"bases", "compare", "report", "study", "launch"})
    del values["sample"]["clip_guidance_scale"]
    return values | {f"bases.{params.base}": params.chosen.model_dump()}


def _word(who: str, gain: dict[str, Any]) -> dict[str, str]:
    interval = format_interval(gain["ci_low"], gain["ci_high"])
    return {f"{who}_gain": format_signed(gain["difference"]), f"{who}_interval": interval}


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
