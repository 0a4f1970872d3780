"""`compare` and `report` as whole processes on 2 x 480 pictures."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

MORE_PER_PROMPT = 2
"""Pictures of each class prompt that are taken twice: 380 become 480."""
COPIED = ("data/pairs.parquet", "data/prompts.csv", "data/reference.safetensors")


def measure_evidence(folder: Path) -> float:
    """Seconds of both, on the results of the last `dvc repro`, enlarged, in a clone in `folder`."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", Path.cwd(), clone], check=True)
    for name in COPIED:
        shutil.copy(name, clone / name)
    for name in ("data/samples", "data/scores"):
        shutil.copytree(name, clone / name, dirs_exist_ok=True)
    for variant in ("baseline", "finetuned"):
        _enlarge(clone / "data", variant)
    started = time.perf_counter()
    for stage in ("compare", "report"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=clone, check=True)
    return time.perf_counter() - started


def _enlarge(data: Path, variant: str) -> None:
    samples = data / "samples" / variant
    for table in (samples / "metadata.csv", data / "scores" / f"{variant}.csv"):
        rows = pd.read_csv(table, keep_default_na=False)
        pd.concat([rows, _rename(rows[_is_taken(rows)])]).to_csv(table, index=False)
    taken = np.flatnonzero(_is_taken(rows))
    for old, new in zip(
        rows["file_name"].iloc[taken], _rename(rows.iloc[taken])["file_name"], strict=True
    ):
        shutil.copy(samples / old, samples / new)
    path = data / "scores" / f"{variant}.safetensors"
    embeds = load_file(path)["image_embeds"]
    save_file({"image_embeds": np.concatenate([embeds, embeds[taken]])}, path)


def _is_taken(rows: pd.DataFrame) -> pd.Series:
    return (rows["set"] == "class") & (rows["index"] < MORE_PER_PROMPT)


def _rename(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        index=rows["index"] + 100, file_name=rows["file_name"].str.replace("_0", "_1", n=1)
    )
