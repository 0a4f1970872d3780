"""The parts in which sampling gets done: a batch of files, or a shard of batches.

A part is done or not as a whole. What is noted of it after its last file is its digest, so that
damage is seen, and whether its pictures are finite.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.config.params import SampleParams
from stages.files.samples import name_shard
from stages.files.tables import read_json, write_json


class Part(NamedTuple):
    """Pictures that are done together.

    Attributes:
        number: From 0, in order.
        rows: Their metadata.
        files: What they become, in the folder of pictures.
    """

    number: int
    rows: pd.DataFrame
    files: list[str]


def is_sharded(rows: pd.DataFrame, params: SampleParams) -> bool:
    """Whether so many pictures are written as shards."""
    return len(rows) > params.shard_above


def list_parts(rows: pd.DataFrame, params: SampleParams) -> list[Part]:
    """All parts in order: batches, or shards of as many whole batches as fit."""
    if not is_sharded(rows, params):
        return [
            Part(number, batch, batch["file_name"].tolist())
            for number, batch in enumerate(split_rows(rows, params.batch_size))
        ]
    per_shard = params.batch_size * max(1, params.pictures_per_shard // params.batch_size)
    shards = list(split_rows(rows, per_shard))
    return [
        Part(number, shard, [name_shard(number, len(shards))])
        for number, shard in enumerate(shards)
    ]


def split_rows(rows: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    """Rows in order, so many at a time."""
    for first in range(0, len(rows), size):
        yield rows.iloc[first : first + size]


def is_done(part: Part, scratch: Path) -> bool:
    """Whether a part was written to its end, and its files are what they were then."""
    try:
        record = read_json(_locate_record(part, scratch), "sample")
        return record["digest"] == _hash_files(part, scratch)
    except (OSError, ValueError, KeyError):
        return False


def note_done(part: Part, is_finite: list[bool], scratch: Path) -> None:
    """Note that a part's files are written."""
    values = {"is_finite": is_finite, "digest": _hash_files(part, scratch)}
    write_json(values, _locate_record(part, scratch))


def read_flags(part: Part, scratch: Path) -> list[bool]:
    """Whether each picture of a part that is done is finite, in order."""
    return read_json(_locate_record(part, scratch), "sample")["is_finite"]


def _locate_record(part: Part, scratch: Path) -> Path:
    return scratch / f"batch_{part.number:05d}.json"


def _hash_files(part: Part, scratch: Path) -> str:
    """The SHA-256 of a part's files, one after the other."""
    digest = hashlib.sha256()
    for name in part.files:
        digest.update((scratch / "pictures" / name).read_bytes())
    return digest.hexdigest()
