"""The subject that textual_inversion and dreambooth learn: its pictures, words and prompts."""

from pathlib import Path

import numpy as np
from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import SubjectParams
from stages.files.images import decode_image
from stages.sources.choosing import Choice
from stages.sources.drawing.red_frog import RED_FROG, draw_red_frog_picture
from stages.sources.imagefolder import SUFFIXES
from stages.sources.source import Entry, Source

NUM_DRAWN = 200
"""As many as may be asked for: 100 to train on and 100 that are held out."""


def open_subject(subject: SubjectParams, learned: str) -> Source:
    """List the pictures of the source that `subject` names, in a stable order.

    What the model is to call the subject stands for their class, so captions are made as usual.

    Raises:
        UserError: There is no such folder.
    """
    return _open_drawn(learned) if subject.source == "drawn" else _open_folder(subject, learned)


def choose_subject(source: Source, subject: SubjectParams) -> Choice:
    """Draw the pictures to train on and those that are held out, by `seed`.

    Raises:
        UserError: There are too few.
    """
    num_wanted = subject.num_pictures + subject.num_held_out_pictures
    if len(source.entries) < num_wanted:
        raise UserError(
            f"subject.root: {source.name} has {len(source.entries)} pictures; num_pictures + "
            f"num_held_out_pictures are {num_wanted}; add pictures, or lower one of them"
        )
    order = np.random.default_rng(subject.seed).permutation(len(source.entries)).tolist()
    return Choice(order[: subject.num_pictures], order[subject.num_pictures : num_wanted])


def _open_drawn(learned: str) -> Source:
    entries = [Entry(f"drawn/{RED_FROG.name}/{seed}", learned) for seed in range(NUM_DRAWN)]
    return Source("drawn", entries, draw_red_frog_picture)


def _open_folder(subject: SubjectParams, learned: str) -> Source:
    root = Path(subject.root or "")
    if not root.is_dir():
        raise UserError(f"subject.root: no folder {root}; set it to one of pictures")
    files = sorted(f for f in root.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())

    def load_image(index: int) -> Image.Image:
        return decode_image(files[index].read_bytes(), str(files[index]))

    entries = [Entry(f.relative_to(root).as_posix(), learned) for f in files]
    return Source(str(root), entries, load_image)
