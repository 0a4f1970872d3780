"""Every size and every number of steps of the tiny base and its scorer, and where they are built.

The learning rates, shapes and steps below are what `models/tiny/README.md` reports on; change one
and rebuild with `make tiny`.
"""

from pathlib import Path
from typing import Any

from stages.config.params import FinetuneParams

SCRATCH = Path("scratch/tiny")
"""Drawn pictures, latents and checkpoints; removed by hand once the models are good."""
GENERATOR = Path("models/tiny")
SCORER = Path("models/tiny-scorer")
GUIDE = Path("models/tiny-guide")

IMAGE_SIZE_PX = 64
MAX_TOKENS = 32
VOCABULARY_SIZE = 1024

NUM_PICTURES_EACH = {"illustration": 2500, "photo": 1500}
"""Of each thing, by look."""
FIRST_HELD_OUT_SEED = 1_000_000
"""Training draws seeds below this, measuring seeds from it on."""


SETTINGS: dict[str, Any] = {
    "optimizer": "adamw",
    "adam_beta1": 0.9,
    "adam_beta2": 0.99,
    "adam_weight_decay": 0.01,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 200,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "snr_gamma": None,
    "ema_decay": 0.999,
    "validation_steps": 1000,
    "checkpoint_steps": 250,
    "seed": 0,
}
"""Of the training loop, for all parts; params.yaml has no say in them."""


def _plan(**changes: Any) -> FinetuneParams:
    return FinetuneParams.model_construct(**SETTINGS | changes)


VAE = _plan(max_train_steps=3600, train_batch_size=8, learning_rate=1.5e-3, ema_decay=0.995)
DENOISER = _plan(
    max_train_steps=7200,
    train_batch_size=32,
    learning_rate=1e-3,
    snr_gamma=5.0,
    caption_dropout_rate=0.1,
)
SCORER_TRAINING = _plan(
    max_train_steps=2600, train_batch_size=128, learning_rate=1.5e-3, adam_weight_decay=0.05
)
GUIDE_TRAINING = SCORER_TRAINING.model_copy(update={"seed": 1})
"""Of the CLIP that guides sampling: the scorer, which judges, must not have led to what it sees."""
