"""The subject that textual_inversion and dreambooth learn: its pictures, words and prompts."""

from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np

from stages.config.mistakes import UserError
from stages.config.params import SubjectParams
from stages.sources.choosing import Choice
from stages.sources.drawing.red_frog import RED_FROG, draw_red_frog_picture
from stages.sources.imagefolder import list_pictures, open_files
from stages.sources.source import Entry, Source
from stages.sources.walking import walk, word_missing

NUM_DRAWN = 200
"""As many as may be asked for: 100 to train on and 100 that are held out."""


def open_subject(subject: SubjectParams, learned: str) -> Source:
    """List the pictures of the source that `subject` names, in a stable order.

    What the model is to call the subject stands for their class, so captions are made as usual.

    Raises:
        UserError: There is no such folder.
    """
    return _open_drawn(learned) if subject.source == "drawn" else _open_folder(subject, learned)


def choose_subject(
    source: Source, subject: SubjectParams, copies: AbstractSet[int] = frozenset()
) -> Choice:
    """Draw the pictures to train on and those that are held out, by `seed`; none of `copies`.

    Raises:
        UserError: There are too few.
    """
    num_wanted = subject.num_pictures + subject.num_held_out_pictures
    order = np.random.default_rng(subject.seed).permutation(len(source.entries)).tolist()
    order = [index for index in order if index not in copies]
    if len(order) < num_wanted:
        found = f"{len(order)} pictures" + (f" beside {len(copies)} copies" if copies else "")
        num_train = len(order) - subject.num_held_out_pictures
        works = f"num_pictures {num_train} would work" if num_train > 0 else "lower one of them"
        raise UserError(
            f"subject.root: {source.name} has {found}; num_pictures + "
            f"num_held_out_pictures are {num_wanted}; add pictures, or {works}"
        )
    return Choice(order[: subject.num_pictures], order[subject.num_pictures : num_wanted])


def _open_drawn(learned: str) -> Source:
    entries = [Entry(f"drawn/{RED_FROG.name}/{seed}", learned) for seed in range(NUM_DRAWN)]
    return Source("drawn", entries, draw_red_frog_picture, is_drawn=True)


def _open_folder(subject: SubjectParams, learned: str) -> Source:
    root = Path(subject.root or "")
    if not root.is_dir():
        raise word_missing(root, "subject.root", "folder")
    files, notes = walk(root)
    pictures, others = list_pictures(files)
    entries = [Entry(found.name, learned) for found in pictures]
    return open_files(str(root), entries, {f.name: f.path for f in pictures}, notes + others)
