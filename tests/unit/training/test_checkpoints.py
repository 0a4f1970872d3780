import threading
import time
from pathlib import Path

import pytest
import torch

from stages.files.tensors import read_checkpoint, write_tensors
from stages.training import checkpoints
from stages.training.checkpoints import LARGEST_PART, SHORT_S, CheckpointWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.safetensors"


def test_training_does_not_wait_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_disk_free = threading.Event()

    def write(*args: object) -> None:
        is_disk_free.wait(10)
        write_tensors(*args)

    monkeypatch.setattr(checkpoints, "write_tensors", write)
    noted = []
    with CheckpointWriter(path, lambda: noted.append(path.exists())) as writer:
        writer.write(lambda: {"weight": torch.ones(3)})
        assert not path.exists()
        assert not noted
        is_disk_free.set()
    assert path.exists()
    assert noted == [True]


def test_what_is_written_is_the_state_at_that_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_trained = threading.Event()

    def write(*args: object) -> None:
        has_trained.wait(10)
        write_tensors(*args)

    monkeypatch.setattr(checkpoints, "write_tensors", write)
    weight = torch.nn.Parameter(torch.ones(3))
    with CheckpointWriter(path) as writer:
        writer.write(lambda: {"weight": weight})
        weight.data.zero_()
        has_trained.set()
    assert read_checkpoint(path)["weight"].tolist() == [1, 1, 1]


def test_a_disk_that_is_full_ends_the_training(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_tensors", fail)
    with CheckpointWriter(path) as writer:
        writer.write(dict)
        with pytest.raises(OSError, match="No space left"):
            writer.write(dict)


def test_checkpoints_that_take_long_come_less_often(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def copy_for(seconds: float) -> dict:
        now[0] += seconds
        return {}

    with CheckpointWriter(path) as writer:
        writer.write(lambda: copy_for(SHORT_S))
        assert writer.is_affordable()
        writer.write(lambda: copy_for(3.0))
        now[0] += 0.9 * 3.0 / LARGEST_PART
        assert not writer.is_affordable()
        now[0] += 0.2 * 3.0 / LARGEST_PART
        assert writer.is_affordable()
