"""What `instance` writes of the one thing to be learned, in and out; empty for other methods."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from stages.config.mistakes import UserError
from stages.files.tables import Schema, read_csv, read_json, write_json, write_table

INSTANCE_COLUMNS = ("image", "caption", "split", "source_id")
PROMPTS_SCHEMA: Schema = {"prompt_id": "str", "baseline": "str", "finetuned": "str"}
RESEMBLANCE_SCHEMA: Schema = {
    "file_name": "str",
    "prompt_id": "str",
    "baseline_prompt": "str",
    "finetuned_prompt": "str",
    "index": "int64",
    "seed": "uint64",
    "baseline": "float64",
    "finetuned": "float64",
}
"""Of what `resemblance` writes: a row a picture, how much each variant's resembles the thing."""


class Instance(NamedTuple):
    """The thing to be learned.

    Attributes:
        pictures: Rows of `INSTANCE_COLUMNS`; split is "train" or "held_out".
        words: What textual_inversion or dreambooth has to know of the language.
        prompts: Rows of `PROMPTS_SCHEMA`: what each variant is asked for.
    """

    pictures: pd.DataFrame
    words: dict[str, Any]
    prompts: pd.DataFrame


EMPTY = Instance(
    pd.DataFrame(columns=list(INSTANCE_COLUMNS)), {}, pd.DataFrame(columns=list(PROMPTS_SCHEMA))
)
"""Of a method that learns no single thing."""


def write_instance(instance: Instance, pictures: Path, words: Path, prompts: Path) -> None:
    """Write each part to a file of its own: what trains does not depend on what is sampled."""
    write_table(instance.pictures[list(INSTANCE_COLUMNS)], pictures)
    write_json(instance.words, words)
    write_table(instance.prompts[list(PROMPTS_SCHEMA)], prompts)


def read_instance_pictures(path: Path) -> pd.DataFrame:
    """Read the pictures, still encoded; those to train on come first.

    Raises:
        UserError: The file is missing.
        UserError: It is something else.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; run `dvc repro instance`, which writes it")
    try:
        return pd.read_parquet(path, columns=list(INSTANCE_COLUMNS))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: not a table of pictures ({error}); run `dvc repro instance`"
        ) from None


def read_instance_words(path: Path) -> dict[str, Any]:
    """Read the words."""
    return read_json(path, "instance")


def read_instance_prompts(path: Path) -> pd.DataFrame:
    """Read the prompts of both variants."""
    return read_csv(path, PROMPTS_SCHEMA, "instance")
