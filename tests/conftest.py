"""The default tests see no GPU: they promise what holds on a CPU. `pytest -m gpu` sees it."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hide it before torch looks; processes that a test starts don't see it either."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
