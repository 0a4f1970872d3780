"""The subject that is learned from a few pictures: which these are."""

from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np

from stages.config.params import SubjectParams
from stages.sources.captions import explain_captions
from stages.sources.choosing import Choice, check_supply
from stages.sources.drawing.red_frog import RED_FROG, draw_red_frog_picture
from stages.sources.imagefolder import list_pictures, open_files
from stages.sources.source import Entry, Source
from stages.sources.walking import is_folder, walk, word_missing

CAPTIONS_REASON = "captions, not used: a subject's are made of subject.caption_templates"
KEYS = ("subject.num_pictures", "subject.num_held_out_pictures")
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
    source: Source,
    num_train: int,
    num_held_out: int,
    seed: int,
    copies: AbstractSet[int] = frozenset(),
) -> Choice:
    """Draw the pictures to train on and those that are held out; none of `copies`.

    The held-out ones don't depend on `num_train`, and more to train on hold the fewer: what is
    learned from 4 and from 16 is compared with the same pictures.

    Raises:
        TooFewError: There are too few; says which numbers would work.
    """
    order = np.random.default_rng(seed).permutation(len(source.entries)).tolist()
    order = [index for index in order if index not in copies]
    name = f"subject.root: {source.name}"
    check_supply(name, {None: len(order)}, [num_train], [num_held_out], KEYS, len(copies))
    return Choice(order[num_held_out : num_held_out + num_train], order[:num_held_out])


def _open_drawn(learned: str) -> Source:
    entries = [Entry(f"drawn/{RED_FROG.name}/{seed}", learned) for seed in range(NUM_DRAWN)]
    return Source("drawn", entries, draw_red_frog_picture, is_drawn=True)


def _open_folder(subject: SubjectParams, learned: str) -> Source:
    root = Path(subject.root or "")
    if not is_folder(root):
        raise word_missing(root, "subject.root", "folder")
    files, notes = walk(root)
    pictures, others = list_pictures(files)
    others = explain_captions(others, pictures, CAPTIONS_REASON, CAPTIONS_REASON)
    entries = [Entry(found.name, learned) for found in pictures]
    return open_files(str(root), entries, {f.name: f.path for f in pictures}, notes + others)
