"""Pictures that the project draws itself, in the photo look: 32 px and no captions, as CIFAR-10.

Seeds start past those that the tiny base was trained on, so that none of those comes back.
"""

from collections.abc import Sequence

from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import DataParams
from stages.sources.drawing.pictures import draw_picture
from stages.sources.drawing.things import THINGS
from stages.sources.source import Entry, Source

NUM_PER_CLASS = 20_000
FIRST_SEED = 2_000_000


def open_source(_data: DataParams, classes: Sequence[str]) -> Source:
    """Offer `NUM_PER_CLASS` drawings of each class.

    Raises:
        UserError: A class cannot be drawn.
    """
    unknown = [name for name in classes if name not in THINGS]
    if unknown:
        raise UserError(
            f"prepare.classes: source drawn cannot draw {', '.join(unknown)}; "
            f"it draws {', '.join(THINGS)}"
        )
    jobs = [
        (name, seed) for name in classes for seed in range(FIRST_SEED, FIRST_SEED + NUM_PER_CLASS)
    ]

    def load_image(index: int) -> Image.Image:
        return draw_picture("photo", *jobs[index]).image

    entries = [Entry(f"drawn/{name}/{seed}", name) for name, seed in jobs]
    return Source("drawn", entries, load_image, is_drawn=True)
