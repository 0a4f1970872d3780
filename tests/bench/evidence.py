"""`compare` and `report` as whole processes on 2 x 480 pictures."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from tests.bench.pipeline import run

REPEATED_PER_PROMPT = 2
"""Pictures of each class prompt that are there twice: 380 become 480."""


def measure_evidence(clone: Path) -> float:
    """Seconds of both in `clone`, on its results of `dvc repro`, which are enlarged for it."""
    for variant in ("baseline", "finetuned"):
        _enlarge(clone / "data", variant)
    return sum(run(clone, "python", "-m", f"stages.{stage}") for stage in ("compare", "report"))


def _enlarge(data: Path, variant: str) -> None:
    samples, scores = data / "samples" / variant, data / "scores" / f"{variant}.csv"
    rows = pd.read_csv(scores, keep_default_na=False)
    repeated = rows[(rows["set"] == "class") & (rows["index"] < REPEATED_PER_PROMPT)]
    for name in repeated["file_name"]:
        shutil.copy(samples / name, samples / _rename(name))
    embeds_path = scores.with_suffix(".safetensors")
    embeds = load_file(embeds_path)["image_embeds"]
    save_file({"image_embeds": np.concatenate([embeds, embeds[repeated.index]])}, embeds_path)
    for table in (scores, samples / "metadata.csv"):
        rows = pd.read_csv(table, keep_default_na=False)
        copies = rows.loc[repeated.index]
        copies = copies.assign(
            file_name=copies["file_name"].map(_rename), index=copies["index"] + len(rows)
        )
        pd.concat([rows, copies]).to_csv(table, index=False)


def _rename(file_name: str) -> str:
    return f"again-{file_name}"
