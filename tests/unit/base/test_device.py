from pathlib import Path

import pytest
import torch

from stages.base.device import choose_precision, describe_device, require_device
from stages.config.mistakes import UserError
from tests.unit.conftest import build_base_params

CPU = torch.device("cpu")
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version"
)


def refuse_driver() -> None:
    raise RuntimeError(TOO_OLD)


def show_gpu(monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90", "compute_120"])


def test_fp16_without_cuda_is_refused_with_the_reason(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "init", refuse_driver)
    base = build_base_params(base_folder, precision="fp16")
    with pytest.raises(UserError) as caught:
        require_device(base)
    assert "bases.*.precision: found fp16, which needs a CUDA GPU" in str(caught.value)
    assert "the CPU (no CUDA: The NVIDIA driver on your system is too old" in str(caught.value)
    assert "set fp32 to run it there all the same" in str(caught.value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cpu_is_taken_where_it_is_asked_for(base_folder: Path, precision: str) -> None:
    base = build_base_params(base_folder, precision=precision)
    require_device(base)
    assert choose_precision(base, CPU) == precision


def test_fp16_is_taken_on_cuda(base_folder: Path) -> None:
    base = build_base_params(base_folder, precision="fp16")
    assert choose_precision(base, torch.device("cuda")) == "fp16"


def test_a_card_older_than_torch_is_refused(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_base_params(base_folder, precision="fp16")
    show_gpu(monkeypatch, "NVIDIA T4", (7, 5))
    require_device(base)
    show_gpu(monkeypatch, "Tesla V100", (7, 0))
    with pytest.raises(UserError, match=r"Tesla V100 is of compute capability 7\.0.* needs 7\.5"):
        require_device(base)


def test_a_hidden_gpu_is_said_to_be_hidden() -> None:
    assert describe_device(CPU) == "the CPU (no CUDA: CUDA_VISIBLE_DEVICES hides it)"
