"""Metrics with a model of their own, `score.extra_metrics`: what they need and how they load.

A missing package or missing weights stop the stage before any picture is scored. Weights are
safetensors, or are read with `weights_only=True`, which holds no code; never pickle, never remote
code.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pickle import UnpicklingError
from typing import Any

import torch
from PIL import Image

from stages.config.mistakes import UserError
from stages.scoring.metrics.metric import Batch, Context, Description, Metric

logger = logging.getLogger(__name__)

PROBLEMS = (ImportError, OSError, ValueError, RuntimeError, KeyError, EOFError, UnpicklingError)
MAX_REASON = 200

Score = Callable[[Sequence[Image.Image], Any], list[float]]
"""B pictures and what `beside` has for them -> B scores."""


def list_prompts(batch: Batch, _: Context) -> list[str]:
    """Each picture's own prompt."""
    return batch.samples["prompt"].tolist()


@dataclass(frozen=True, kw_only=True)
class Pretrained(Description):
    """A metric with a model of its own, and what has to be there for it."""

    load: Callable[[torch.device], Score]
    beside: Callable[[Batch, Context], Any] = list_prompts
    """What pictures are scored with."""
    size: str
    """Of the weights, about: "3.9 GB"."""
    files: tuple[tuple[str, str], ...] = ()
    """One file of each repository on the hub that is read: (repository, file)."""
    packages: tuple[str, ...] = ()
    """Import names that requirements.txt does not bring."""
    install: str = ""
    """The command that brings them."""
    restriction: str = ""
    """What the licence of package or weights does not allow, if anything."""


def load_metric(metric: Pretrained, device: torch.device) -> Metric:
    """Load a metric's model; it stays in memory as long as the metric.

    Raises:
        UserError: One line: the metric, what is missing, its size, its licence, what to do.
    """
    missing = [package for package in metric.packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"score.extra_metrics: {metric.name} needs the package {', '.join(missing)}; run "
            f"`{metric.install}`, which then downloads {_word_weights(metric)}"
        )
    logger.info("loading %s", metric.name)
    try:
        for repository, file in metric.files:
            _check_file(repository, file)
        score = metric.load(device)
    except PROBLEMS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
        raise UserError(
            f"score.extra_metrics: {metric.name} cannot be loaded; it needs the weights "
            f"{_word_weights(metric)}; run once with a network, or take {metric.name} off the "
            f"list ({reason})"
        ) from error

    def compute(batch: Batch, context: Context) -> list[float]:
        with torch.inference_mode():
            return score(batch.images, metric.beside(batch, context))

    known = {field.name: getattr(metric, field.name) for field in fields(Description)}
    return Metric(**known, compute=compute)


def load_weights(repository: str, file: str) -> Any:
    """Read a checkpoint of the hub that is not safetensors: tensors only, no code."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 (only these metrics need it)

    path = hf_hub_download(repository, file)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_file(repository: str, file: str) -> None:
    """Ask once whether a file can be had; loading would ask again and again, for minutes."""
    from huggingface_hub import (  # noqa: PLC0415 (only these metrics need it)
        get_hf_file_metadata,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.utils import httpx  # noqa: PLC0415

    if not isinstance(try_to_load_from_cache(repository, file), str):
        try:
            get_hf_file_metadata(hf_hub_url(repository, file))
        except httpx.HTTPError as error:
            raise OSError(f"{repository}/{file}: {error}") from error


def _word_weights(metric: Pretrained) -> str:
    assert metric.origin is not None, f"{metric.name} has no origin"
    words = f"{metric.origin.weights} (about {metric.size})"
    return f"{words}; licence: {metric.restriction}" if metric.restriction else words
