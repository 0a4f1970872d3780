"""The pictures of the one thing that textual_inversion and dreambooth learn."""

from pathlib import Path

import numpy as np
from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import InstanceParams
from stages.files.images import decode_image
from stages.sources.choosing import Choice
from stages.sources.drawing.red_frog import RED_FROG, draw_red_frog_picture
from stages.sources.imagefolder import SUFFIXES
from stages.sources.source import Entry, Source

NUM_DRAWN = 200
"""As many as may be asked for: 100 to train on and 100 that are held out."""


def open_instance(instance: InstanceParams) -> Source:
    """List the pictures of the source that `instance` names, in a stable order.

    Raises:
        UserError: There is no such folder.
    """
    return _open_drawn() if instance.source == "drawn" else _open_folder(Path(instance.root or ""))


def choose_instance(source: Source, instance: InstanceParams) -> Choice:
    """Draw the pictures to train on and those that are held out, by `seed`.

    Raises:
        UserError: There are too few.
    """
    num_wanted = instance.num_pictures + instance.num_held_out_pictures
    if len(source.entries) < num_wanted:
        raise UserError(
            f"instance.root: {source.name} has {len(source.entries)} pictures; num_pictures + "
            f"num_held_out_pictures are {num_wanted}; add pictures, or lower one of them"
        )
    order = np.random.default_rng(instance.seed).permutation(len(source.entries)).tolist()
    return Choice(order[: instance.num_pictures], order[instance.num_pictures : num_wanted])


def _open_drawn() -> Source:
    entries = [Entry(f"drawn/{RED_FROG.name}/{seed}") for seed in range(NUM_DRAWN)]
    return Source("drawn", entries, draw_red_frog_picture)


def _open_folder(root: Path) -> Source:
    if not root.is_dir():
        raise UserError(f"instance.root: no folder {root}; set it to one of pictures")
    files = sorted(f for f in root.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())

    def load_image(index: int) -> Image.Image:
        return decode_image(files[index].read_bytes(), str(files[index]))

    return Source(str(root), [Entry(f.relative_to(root).as_posix()) for f in files], load_image)
