"""The one way in: all pictures and prompts from outside are looked at here, before any stage.

Of each source it says which files it saw, which it took, and which it left out and why. Whatever a
later stage would refuse is refused here: pictures are decoded, captions made, prompts built.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from stages.config.mistakes import UserError
from stages.config.notation import format_count
from stages.config.params import Params
from stages.files.captions import fill_template
from stages.files.tables import PAIRS_SCHEMA, Schema
from stages.files.taught import Taught
from stages.sources.choosing import Choice, choose_pictures
from stages.sources.copies import choose_apart
from stages.sources.notes import Note, summarise
from stages.sources.opening import open_source
from stages.sources.prompts import build_prompts, list_subject_prompts
from stages.sources.rows import check_characters
from stages.sources.source import Entry, Source
from stages.sources.subject import choose_subject, open_subject

logger = logging.getLogger(__name__)

CHOSEN_SCHEMA: Schema = {**PAIRS_SCHEMA, "pixels": "str"}
"""`pixels` is a hash of the decoded picture, so that another picture under its name is noticed."""
SPLITS = ("train", "validation")
SUBJECT_SPLITS = ("subject", "subject_held_out")


class Intake(NamedTuple):
    """What was taken, as a row of `CHOSEN_SCHEMA` each, the prompts, and notes by their source."""

    chosen: pd.DataFrame
    prompts: pd.DataFrame
    notes: dict[str, list[Note]]

    @property
    def left_out(self) -> pd.DataFrame:
        """All notes: columns `source` (pairs, subject, prompts), `item` and `reason`."""
        rows = [(source, *note) for source, notes in self.notes.items() for note in notes]
        return pd.DataFrame(rows, columns=["source", "item", "reason"])


class Part(NamedTuple):
    """The pairs of a split: which pictures of a source, and the templates of their captions."""

    split: str
    source: Source
    indices: Sequence[int]
    templates: Sequence[str]


def take_in(params: Params, taught: Taught | None) -> Intake:
    """Look at all sources, take what the params ask for, and log a line for each source.

    Raises:
        UserError: What is asked for is not there, or is wrong; names the file and what to do.
    """
    prepare = params.prepare
    sources, prompts = open_all(params, taught), build_all_prompts(params, taught)
    pairs = sources["train"]
    choice, pixels = choose_apart(
        pairs,
        lambda train, held_out, copies: choose_pictures(
            pairs, prepare.classes, train, held_out, prepare.seed, copies
        ),
        *(prepare.num_pairs, prepare.num_validation_pairs),
    )
    tables = [_build(SPLITS, pairs, choice, pixels, prepare.caption_templates)]
    notes = {"pairs": pairs.notes}
    if taught:
        subject, wanted = sources["subject"], taught.subject
        choice, pixels = choose_apart(
            subject,
            lambda train, held_out, copies: choose_subject(
                subject, train, held_out, wanted.seed, copies
            ),
            *(wanted.num_pictures, wanted.num_held_out_pictures),
        )
        tables.append(_build(SUBJECT_SPLITS, subject, choice, pixels, wanted.caption_templates))
        notes["subject"] = subject.notes
    for name, split, table in zip(notes, ("train", "subject"), tables, strict=False):
        source = sources[split]
        taken = table["split"].value_counts(sort=False).to_dict()
        logger.info(
            "%s: %s, %s, taken %s%s",
            *(name, source.name, format_count(len(source.entries), "picture"), taken),
            summarise(source.notes),
        )
    logger.info("prompts: %s", prompts["set"].value_counts(sort=False).to_dict())
    return Intake(pd.concat(tables, ignore_index=True), prompts, notes)


def open_all(params: Params, taught: Taught | None) -> dict[str, Source]:
    """The source of each split; the subject's only where a method teaches one.

    Raises:
        UserError: A source is not there, or not as params.yaml says.
    """
    sources = dict.fromkeys(SPLITS, open_source(params.chosen.data, params.prepare.classes))
    if taught:
        opened = open_subject(taught.subject, taught.learned)
        sources |= dict.fromkeys(SUBJECT_SPLITS, opened)
    return sources


def build_all_prompts(params: Params, taught: Taught | None) -> pd.DataFrame:
    """The prompts to sample, those of the subject among them; raises as `build_prompts`."""
    subject = list_subject_prompts(taught, params.prompts.subject_templates) if taught else []
    return build_prompts(params.prepare.classes, params.prompts, subject)


def _build(
    splits: Sequence[str],
    source: Source,
    choice: Choice,
    pixels: dict[int, str],
    templates: Sequence[str],
) -> pd.DataFrame:
    parts = [
        Part(split, source, indices, templates)
        for split, indices in zip(splits, choice, strict=True)
    ]
    return pd.concat(
        [
            build_pairs(part).assign(pixels=[pixels.get(index, "") for index in part.indices])
            for part in parts
        ]
    )


def build_pairs(part: Part) -> pd.DataFrame:
    """The pairs of a split without their pictures; each class takes the templates in turn."""
    source = part.source
    entries = [source.entries[index] for index in part.indices]
    turns: Counter[str | None] = Counter()
    captions = []
    for index, entry in zip(part.indices, entries, strict=True):
        if not (entry.caption or entry.class_name):
            raise UserError(
                f"{source.show_place(index)}: the picture has neither a caption nor a class; "
                "write a caption, or take it out"
            )
        captions.append(entry.caption or _fill_next(entry, part.templates, turns))
        check_characters(captions[-1], "caption", source.show_place(index))
    return pd.DataFrame(
        {
            "caption": captions,
            "class": pd.Series([entry.class_name for entry in entries], dtype="str"),
            "split": part.split,
            "source_id": [entry.source_id for entry in entries],
        }
    )


def _fill_next(entry: Entry, templates: Sequence[str], turns: Counter[str | None]) -> str:
    assert entry.class_name is not None  # else it has a caption
    template = templates[turns[entry.class_name] % len(templates)]
    turns[entry.class_name] += 1
    return fill_template(template, entry.class_name)
