"""Tables and metrics in and out: parquet, CSV and JSON, columns checked, files replaced whole.

Text columns are read as they were written: a class named "NA" or "null" stays text.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.mistakes import UserError
from stages.files.atomic import replace_file

Schema = Mapping[str, str]
"""Column name to pandas dtype."""

PAIRS_SCHEMA: Schema = dict.fromkeys(("caption", "class", "split", "source_id"), "str")
PROMPTS_SCHEMA: Schema = dict.fromkeys(
    ("prompt_id", "set", "class", "prompt", "finetuned_prompt", "protocol"), "str"
)
"""The fine-tuned model is asked `finetuned_prompt`, which differs where it learned a new word.
`protocol` is the narrowest that has the prompt."""
PAIRED_BY = "paired_by"
"""One more column where pictures were handed in: what pairs them, `pair` or `seed`; or the next."""
INDEPENDENT = "independent"
UNKNOWN = "unknown"
"""The scheduler of samples that were handed in."""
SAMPLES_SCHEMA: Schema = {
    **dict.fromkeys(("file_name", "prompt", "prompt_id", "set", "class"), "str"),
    "index": "int64",
    "seed": "uint64",
    "steps": "int64",
    "guidance": "float64",
    "scheduler": "str",
    "model": "str",
    "is_finite": "bool",
}
SAMPLES_EXTRA: Schema = {"experts": "object", "guide_cosine": "float64"}
"""Where layers have experts, by layer the mean weight of each over the picture; where a guide led,
its own cosine of picture and prompt."""
SAMPLES_WITH_EXPERTS: Schema = {**SAMPLES_SCHEMA, "experts": "object"}
SCORES_SCHEMA: Schema = {
    **dict.fromkeys(("file_name", "prompt_id", "set", "class"), "str"),
    "index": "int64",
    "prompt": "str",
    "clip_cosine": "float64",
    "predicted_class": "str",
    "is_correct": "bool",
    "brightness": "float64",
    "contrast": "float64",
    "retrieval_rank": "int64",
    "training_similarity": "float64",
    "nearest_training_cosine": "float64",
    "nearest_training_id": "str",
    "sharpness": "float64",
    "colourfulness": "float64",
    **dict.fromkeys(("is_black", "is_flat", "is_finite", "is_duplicate"), "bool"),
}
"""After these comes a float64 column for each of `score.extra_metrics`, and `guide_cosine`."""


def read_prompts(path: Path) -> pd.DataFrame:
    """Read the prompts to sample."""
    return read_csv(path, PROMPTS_SCHEMA, stage="prepare")


def are_paired(prompts: pd.DataFrame) -> bool:
    """Whether both variants' pictures of a prompt belong together, one by one."""
    return PAIRED_BY not in prompts or not prompts[PAIRED_BY].eq(INDEPENDENT).any()


def read_scores(path: Path) -> pd.DataFrame:
    """Read a variant's scores, a row a picture, those of `score.extra_metrics` included."""
    require_file(path, "score")
    with path.open(encoding="utf-8") as file:
        return parse_scores(file, str(path))


def parse_scores(file: TextIO, name: str) -> pd.DataFrame:
    """Read scores from wherever they are, as `read_scores`; messages call it `name`."""
    columns = file.readline().strip().split(",")
    file.seek(0)
    extra = {name: "float64" for name in columns if name and name not in SCORES_SCHEMA}
    return parse_csv(file, {**SCORES_SCHEMA, **extra}, name, "score")


def read_csv(path: Path, schema: Schema, stage: str) -> pd.DataFrame:
    """Read a CSV, whose schema's columns must be there; an empty number is NaN.

    Raises:
        UserError: The file is missing; names the stage that makes it.
        UserError: A column is missing or holds something else than its dtype.
    """
    require_file(path, stage)
    return parse_csv(path, schema, str(path), stage)


def parse_csv(source: Path | TextIO, schema: Schema, name: str, stage: str) -> pd.DataFrame:
    """Read a CSV from wherever it is, as `read_csv`; messages call it `name`."""
    numbers = {column: [""] for column, dtype in schema.items() if dtype == "float64"}
    try:
        table = pd.read_csv(source, dtype=dict(schema), keep_default_na=False, na_values=numbers)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{name}: {error}; run `dvc repro {stage}`") from None
    missing = [column for column in schema if column not in table]
    if missing:
        raise UserError(f"{name}: no column {', '.join(missing)}; run `dvc repro {stage}`")
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, as parquet or CSV by the path's suffix."""
    with replace_file(path) as partial:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pandas(table, preserve_index=False), partial)
        else:
            table.to_csv(partial, index=False, lineterminator="\n")


def read_json(path: Path, stage: str) -> dict:
    """Read metrics or other values that a stage wrote."""
    require_file(path, stage)
    return parse_json(path.read_bytes(), str(path), stage)


def parse_json(text: str | bytes, name: str, stage: str) -> dict:
    """Read JSON from wherever it is, as `read_json`; messages call it `name`."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{name}: not JSON ({error}); run `dvc repro {stage}`") from None


def write_json(values: Mapping, path: Path) -> None:
    """Write metrics; a number that is not finite is a ValueError, as JSON has none."""
    with replace_file(path) as partial:
        partial.write_text(
            json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


def require_file(path: Path, stage: str) -> None:
    """Refuse a file that is not there; `stage` is what makes it."""
    if not path.is_file():
        raise UserError(f"no file {path}; run `dvc repro {stage}`, which writes it")
