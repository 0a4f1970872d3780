"""Make the captioned pairs to train on and the prompts to sample.

Reads the data source that the chosen base names, and data/subject.json. Writes data/pairs.parquet,
data/prompts.csv and plots/pairs.png, a sheet to look at. Every later stage sees pictures and
captions as they are here.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image
from tqdm import tqdm

from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.captions import fill_template
from stages.files.images import (
    decode_image,
    draw_sheet,
    encode_png,
    resize_to_square,
    write_png,
)
from stages.files.pictures import LazyColumn, read_rows, write_pictures
from stages.files.tables import PAIRS_SCHEMA, write_table
from stages.files.taught import read_taught
from stages.run.entry import run_stage
from stages.run.scratch import use_folder
from stages.sources.choosing import choose_pictures
from stages.sources.opening import open_source
from stages.sources.prompts import Row, build_prompts, list_subject_prompts
from stages.sources.source import Entry, Source
from stages.sources.subject import choose_subject, open_subject

logger = logging.getLogger(__name__)

SHEET_COLUMNS = 12
SHEET_TILE_PX = 128
MAX_LABEL = 40
"""Characters of a class's name on the sheet, which is as wide as its longest label."""


def main() -> None:
    """Make pairs and prompts as params.yaml says."""
    params = load_params()
    prepare, base = params.prepare, params.chosen
    logger.info("source %s, %s", base.data.source, prepare)
    source = open_source(base.data, prepare.classes)
    choice = choose_pictures(
        source, prepare.classes, prepare.num_pairs, prepare.num_validation_pairs, prepare.seed
    )
    templates = prepare.caption_templates
    parts = [
        Part("train", source, choice.train, templates),
        Part("validation", source, choice.validation, templates),
    ]
    subject_prompts: list[Row] = []
    if taught := read_taught(paths.SUBJECT):
        source = open_subject(taught.subject, taught.learned)
        choice = choose_subject(source, taught.subject)
        templates = taught.subject.caption_templates
        parts += [
            Part("subject", source, choice.train, templates),
            Part("subject_held_out", source, choice.validation, templates),
        ]
        subject_prompts = list_subject_prompts(taught, params.prompts.subject_templates)
    pairs = pd.concat([build_pairs(part) for part in parts], ignore_index=True)
    with load_pictures(parts, base.resolution_px) as pictures:
        write_pictures(pairs, pictures, paths.PAIRS, PAIRS_SCHEMA)
    prompts = build_prompts(prepare.classes, params.prompts, subject_prompts)
    write_table(prompts, paths.PROMPTS)
    write_png(draw_pairs(paths.PAIRS, prepare.classes), paths.PAIRS_SHEET)
    logger.info("%s, %d prompts", pairs["split"].value_counts().to_dict(), len(prompts))


class Part(NamedTuple):
    """The pairs of a split: which pictures of a source, and the templates of their captions."""

    split: str
    source: Source
    indices: Sequence[int]
    templates: Sequence[str]


def build_pairs(part: Part) -> pd.DataFrame:
    """The pairs of a split without their pictures; each class takes the templates in turn."""
    entries = [part.source.entries[index] for index in part.indices]
    turns: Counter[str | None] = Counter()
    captions = [entry.caption or _fill_next(entry, part.templates, turns) for entry in entries]
    return pd.DataFrame(
        {
            "caption": captions,
            "class": pd.Series([entry.class_name for entry in entries], dtype="str"),
            "split": part.split,
            "source_id": [entry.source_id for entry in entries],
        }
    )


def _fill_next(entry: Entry, templates: Sequence[str], turns: Counter[str | None]) -> str:
    if entry.class_name is None:
        raise UserError(f"{entry.source_id}: the picture has neither a caption nor a class")
    template = templates[turns[entry.class_name] % len(templates)]
    turns[entry.class_name] += 1
    return fill_template(template, entry.class_name)


@contextmanager
def load_pictures(parts: Sequence[Part], resolution_px: int) -> Iterator[Iterator[bytes]]:
    """Give PNGs of the pictures, square and resized, in the order of the parts.

    They are loaded in the order in which sources store them, and wait on the disk: a million don't
    fit in memory.
    """
    order = [(part.source, index) for part in parts for index in part.indices]
    stored = sorted(range(len(order)), key=lambda place: (order[place][0].name, order[place][1]))
    places = {}
    with use_folder("prepare") as folder, (folder / "pictures").open("w+b") as file:
        for place in tqdm(stored, desc="pictures", unit=" pictures", mininterval=1):
            source, index = order[place]
            data = encode_png(resize_to_square(source.load_image(index), resolution_px))
            places[place] = (file.tell(), len(data))
            file.write(data)

        def read(place: int) -> bytes:
            offset, size = places[place]
            file.seek(offset)
            return file.read(size)

        yield map(read, range(len(order)))


def draw_pairs(path: Path, classes: Sequence[str]) -> Image.Image:
    """A row of training pictures for each class, or one row if the pairs have no classes."""
    pairs, images = read_rows(path, PAIRS_SCHEMA, "prepare"), LazyColumn(path)
    train = pairs[pairs["split"] == "train"]
    groups = [(name, train[train["class"] == name]) for name in classes]
    if train["class"].isna().all():
        groups = [("no class", train)]
    rows = [
        (
            name[:MAX_LABEL],
            [decode_image(images[row], name) for row in group.index[:SHEET_COLUMNS]],
        )
        for name, group in groups
    ]
    return draw_sheet(rows, SHEET_TILE_PX)


if __name__ == "__main__":
    run_stage(main)
