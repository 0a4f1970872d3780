"""Quality of a picture without its prompt, through pyiqa: MUSIQ and the LAION aesthetic predictor.

pyiqa asks torch to unpickle its weights, code included. Here torch is told to refuse that: what is
not plain tensors does not load.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.pretrained import Pretrained, Score

WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.load reads it at every call


def load(name: str, device: torch.device) -> Score:
    """Load pyiqa's metric `name` in its own default configuration."""
    import pyiqa  # noqa: PLC0415 (optional)

    with refuse_pickled_code():
        metric = pyiqa.create_metric(name, device=device)
    return partial(score_images, metric)


def score_images(metric: Any, images: Sequence[Image.Image], _: Sequence[str]) -> list[float]:
    """The score of each of B pictures, whose prompts are not looked at."""
    scores = []
    for image in images:
        pixels = torch.from_numpy(np.asarray(image.convert("RGB"), np.float32) / 255)
        scores.append(metric(pixels.permute(2, 0, 1)[None]).item())  # (1, 3, H, W) in [0, 1]
    return scores


@contextmanager
def refuse_pickled_code() -> Iterator[None]:
    """Let `torch.load` read tensors only, whatever its caller asks for."""
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WEIGHTS_ONLY]
        else:
            os.environ[WEIGHTS_ONLY] = before


_describe = partial(
    Pretrained,
    direction="higher",
    packages=("pyiqa",),
    install="pip install -r requirements-metrics.txt",
    restriction="pyiqa is PolyForm-Noncommercial 1.0.0: no commercial use",
)
MUSIQ = _describe(
    name="musiq",
    label="MUSIQ",
    scale="quality as on KonIQ-10k, about 0 to 100",
    source="Ke et al. 2021, through pyiqa",
    origin=Origin(
        "MUSIQ (pyiqa)", "pyiqa's musiq, KonIQ-10k", "pyiqa: the picture, and it at 384 and 224 px"
    ),
    size="110 MB",
    load=partial(load, "musiq"),
)
LAION_AESTHETIC = _describe(
    name="laion_aesthetic",
    label="LAION aesthetic",
    scale="predicted rating of beauty, about 1 to 10",
    source="Schuhmann 2022, improved aesthetic predictor (sac+logos+ava1), through pyiqa",
    origin=Origin(
        "CLIP ViT-L/14 and five linear layers (pyiqa)",
        "OpenAI's ViT-L/14, sac+logos+ava1-l14-linearMSE",
        "pyiqa: shortest side to 224 px, bicubic, antialiased, middle square",
    ),
    size="900 MB",
    load=partial(load, "laion_aes"),
)
METRICS = (LAION_AESTHETIC, MUSIQ)
