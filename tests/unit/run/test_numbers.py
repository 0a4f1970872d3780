import os
import sys
from collections.abc import Iterator

import pytest
import torch

from stages.run.numbers import ask_for_exact_numbers

CUDNN, MATMUL = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    tf32 = CUDNN.allow_tf32, MATMUL.allow_tf32
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield
    CUDNN.allow_tf32, MATMUL.allow_tf32 = tf32
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_on_a_gpu_float32_is_no_tf32_and_algorithms_are_deterministic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    CUDNN.allow_tf32 = MATMUL.allow_tf32 = True
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ask_for_exact_numbers()
    assert not CUDNN.allow_tf32
    assert not MATMUL.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_on_a_cpu_nothing_changes() -> None:
    ask_for_exact_numbers()
    assert CUDNN.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_a_stage_without_torch_does_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        ask_for_exact_numbers()
        assert "torch" not in sys.modules
