"""`compare` and `report` as whole processes on 2 x 480 pictures."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.config import paths
from stages.files.embeds import read_image_embeds, write_image_embeds
from stages.files.pictures import write_pictures
from stages.files.tables import SAMPLES_SCHEMA, read_scores, write_table
from tests.bench.pipeline import run
from tests.pictures import read_samples

REPEATED_PER_PROMPT = 2
"""Pictures of each in-domain prompt that are there twice: 380 become 480."""


def measure_evidence(clone: Path) -> float:
    """Seconds of both in `clone`, on its results of `dvc repro`, which are enlarged for it."""
    for variant in paths.VARIANTS:
        enlarge(clone, variant)
    return sum(run(clone, "python", "-m", f"stages.{stage}") for stage in ("compare", "report"))


def enlarge(project: Path, variant: str) -> None:
    """Repeat pictures of a variant, with their scores and embeds, under names of their own."""
    scores = read_scores(project / paths.SCORES[variant])
    is_repeated = (scores["set"] == "in_domain") & (scores["index"] < REPEATED_PER_PROMPT)
    rows = np.flatnonzero(is_repeated)
    write_table(_repeat(scores, rows), project / paths.SCORES[variant])
    samples = _repeat(read_samples(project / paths.SAMPLES[variant]), rows)
    write_pictures(samples, samples["image"], project / paths.SAMPLES[variant], SAMPLES_SCHEMA)
    path = project / paths.SAMPLE_EMBEDS[variant]
    embeds = read_image_embeds(path, "score")
    write_image_embeds(path, np.concatenate([embeds, embeds[rows]]))


def _repeat(table: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    copies = table.iloc[rows]
    names, index = "again-" + copies["file_name"], copies["index"] + len(table)
    return pd.concat([table, copies.assign(file_name=names, index=index)], ignore_index=True)
