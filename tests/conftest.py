"""The default tests see no GPU: they promise what holds on a CPU. `pytest -m gpu` sees it."""

import gc
import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hide it before torch looks; processes that a test starts don't see it either."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    gc.disable()  # what is imported stays: to look for garbage in it takes 3 of 20 s


def pytest_collection_finish() -> None:
    """All is imported."""
    gc.enable()
