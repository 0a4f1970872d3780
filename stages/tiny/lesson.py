"""The training loop of `stages.training`, for parts of the tiny base: any model, any loss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from stages.base.device import choose_device
from stages.config.params import FinetuneParams
from stages.tiny.recipe import SCRATCH
from stages.training.batches import seed_generator
from stages.training.resume import run_training
from stages.training.train import build_training

DEVICE = choose_device()


@dataclass
class DrawnLesson:
    """Asked by the training loop as a `training.lesson.Lesson`; holds nothing out for validation.

    Attributes:
        seed: Of all that is random in a step.
        loss: Draws its own batch from the generator, on the CPU.
    """

    seed: int
    loss: Callable[[Generator], Tensor]

    def draw(self, step: int) -> list[list[tuple[float, Generator]]]:
        """The generator of a step; always the same."""
        return [[(1.0, seed_generator(self.seed, "step", step))]]

    def compute_loss(self, _model: nn.Module, generator: Generator, _snr_gamma: None) -> Tensor:
        """The loss of the batch that the generator draws."""
        return self.loss(generator)

    def validation(self) -> list[Generator]:
        """Nothing: what is built is measured by `measure`."""
        return []

    def finish_step(self) -> None:
        """Nothing is left to do."""


def train_part(
    name: str, params: FinetuneParams, model: nn.Module, loss: Callable[[Generator], Tensor]
) -> None:
    """Train all of `model`, on `DEVICE`, and leave the moving average of its weights in it.

    Raises:
        FloatingPointError: The loss of a step is not finite.
    """
    assert params.learning_rate is not None
    weights = dict(model.named_parameters())
    training = build_training(model.train(), weights, params, params.learning_rate, "fp32")
    lesson: Any = DrawnLesson(params.seed, loss)
    run_training(training, lesson, SCRATCH / f"{name}.safetensors", name)
    assert training.ema is not None
    training.ema.copy_to(weights.values())
    model.eval()


def autocast() -> torch.autocast:
    """Bfloat16 autocast on the GPU and on CPUs that multiply in it; float32 elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    is_fast_cpu = cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda" or is_fast_cpu)
