"""Every size and every number of steps of the tiny base and its scorer, and where they are built.

The learning rates, shapes and steps below are what `models/tiny/README.md` reports on; change one
and rebuild with `make tiny`.
"""

from dataclasses import dataclass
from pathlib import Path

SCRATCH = Path("scratch/tiny")
"""Drawn pictures, latents and checkpoints; removed by hand once the models are good."""
GENERATOR = Path("models/tiny")
SCORER = Path("models/tiny-scorer")

IMAGE_SIZE_PX = 64
MAX_TOKENS = 32
VOCABULARY_SIZE = 1024

NUM_ILLUSTRATIONS_PER_THING = 2500
NUM_PHOTOS_PER_CLASS = 1500
FIRST_HELD_OUT_SEED = 1_000_000
"""Training draws seeds below this, measuring seeds from it on."""


@dataclass(frozen=True)
class Plan:
    """How one part is trained: AdamW, linear warm-up, cosine to zero, moving average of weights."""

    name: str
    num_steps: int
    batch_size: int
    learning_rate: float
    lr_warmup_steps: int = 200
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    checkpoint_steps: int = 250
    seed: int = 0


VAE = Plan("vae", num_steps=3600, batch_size=8, learning_rate=1.5e-3, ema_decay=0.995)
DENOISER = Plan("denoiser", num_steps=7200, batch_size=32, learning_rate=1e-3)
SCORER_TRAINING = Plan(
    "scorer", num_steps=2600, batch_size=128, learning_rate=1.5e-3, weight_decay=0.05
)
