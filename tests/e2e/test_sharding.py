"""Two processes on the CPU that share out the trained weights (FSDP) give what one gives."""

import gc
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch.distributed.tensor import DTensor

from stages import encode, finetune
from stages.config import paths
from stages.files.tables import read_csv
from stages.run.processes import SHARDED, get_rank
from stages.training import checkpoints
from stages.training.resume import History
from stages.training.train import Training
from tests.e2e.processes import run_processes
from tests.unit.stable_diffusion_project import build_project, edit_params

pytestmark = pytest.mark.thorough

Tensors = dict[str, np.ndarray]
SHARDS = {SHARDED: "1"}
STEPS = {"max_train_steps": 3, "checkpoint_steps": 2, "validation_steps": 2}
EPSILON = 1e-3
"""Of Adam, so large that it does not divide gradients of zero, but for rounding, by themselves."""


class Result(NamedTuple):
    """What came of a training; of one from its start also the checkpoint before its last step."""

    weights: Tensors
    losses: np.ndarray
    grad_norms: np.ndarray
    validation: np.ndarray
    checkpoint: Tensors
    held: list[dict[str, int]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding") / "project"
    build_project(folder)
    edit_params(folder, "finetune", method="full", ema_decay=0.5, gradient_checkpointing=True)
    edit_params(folder, "finetune", gradient_accumulation_steps=2, adam_epsilon=EPSILON, **STEPS)
    run_processes(folder, 1, encode.main)
    return folder


@pytest.fixture(scope="module")
def alone(project: Path) -> Result:
    return train(project, 1)


@pytest.fixture(scope="module")
def sharded(project: Path, alone: Result) -> Result:
    return train(project, 2, **SHARDS)


def test_weights_in_shards_are_trained_as_whole_ones(alone: Result, sharded: Result) -> None:
    assert_trained_alike(sharded, alone)


def test_each_process_holds_half_of_all_weights_gradients_and_moments(
    alone: Result, sharded: Result
) -> None:
    (whole,) = alone.held
    assert whole["weights"] == whole["gradients"] == whole["average"] == whole["moments"] / 2
    half = {name: size / 2 for name, size in whole.items()}  # no size of the micro U-Net is odd
    assert sharded.held == [half, half]


def test_a_checkpoint_does_not_tell_whether_weights_were_in_shards(
    alone: Result, sharded: Result
) -> None:
    assert describe(sharded.checkpoint) == describe(alone.checkpoint)


def test_one_process_goes_on_from_a_checkpoint_of_shards(
    project: Path, alone: Result, sharded: Result
) -> None:
    resumed = go_on(project, sharded.checkpoint, 1)
    np.testing.assert_array_equal(resumed.losses[:2], sharded.losses[:2])
    assert_trained_alike(resumed, alone)


def test_shards_go_on_from_a_checkpoint_of_one_process(project: Path, tmp_path: Path) -> None:
    """Of a method that trains few weights: those that are frozen are in shards, too."""
    folder = tmp_path / "attn2"
    shutil.copytree(project, folder)
    edit_params(folder, "finetune", method="attn2")
    whole = train(folder, 1)
    resumed = go_on(folder, whole.checkpoint, 2, **SHARDS)
    np.testing.assert_array_equal(resumed.losses[:2], whole.losses[:2])
    assert_trained_alike(resumed, whole)


def assert_trained_alike(result: Result, expected: Result) -> None:
    """Equal to ten times what was seen, a few roundings of float32.

    Means are those of halves, and convolutions of weights in shards, which are not in channels
    last, are summed in another order.
    """
    np.testing.assert_allclose(result.losses, expected.losses, rtol=1e-6)
    np.testing.assert_allclose(result.grad_norms, expected.grad_norms, rtol=5e-6)
    np.testing.assert_allclose(result.validation, expected.validation, rtol=2e-6)
    assert describe(result.weights) == describe(expected.weights)
    for name, weight in expected.weights.items():
        np.testing.assert_allclose(result.weights[name], weight, rtol=0, atol=2e-6)


def describe(tensors: Tensors) -> dict[str, tuple]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def train(project: Path, count: int, **environment: str) -> Result:
    shutil.rmtree(project / paths.SCRATCH, ignore_errors=True)
    run_processes(project, count, finetune_and_measure, **environment)
    return read_result(project, count)


def go_on(project: Path, checkpoint: Tensors, count: int, **environment: str) -> Result:
    """Take the last step, from a checkpoint of the same params."""
    (path,) = project.glob("scratch/finetune/*/checkpoint.safetensors")
    save_file(checkpoint, path)
    run_processes(project, count, finetune_and_measure, **environment)
    return read_result(project, count)


def read_result(project: Path, count: int) -> Result:
    steps = read_csv(project / paths.LOSS, {"loss": "float64"}, "finetune")
    validation = read_csv(project / paths.VALIDATION_LOSS, {}, "finetune")
    return Result(
        weights=load_file(project / paths.FINETUNED / "unet.safetensors"),
        losses=steps["loss"].to_numpy(),
        grad_norms=steps["grad_norm"].to_numpy(),
        validation=validation["validation_loss"].to_numpy(),
        checkpoint=load_file(project / "checkpoint_2.safetensors"),
        held=[json.loads((project / f"held_{rank}.json").read_text()) for rank in range(count)],
    )


def finetune_and_measure() -> None:
    """Run `finetune`, note what this process holds in the end, and keep each checkpoint."""
    train_to_the_end, write = finetune.run_training, checkpoints.write_tensors

    def run_training(training: Training, *args: object) -> History:
        history = train_to_the_end(training, *args)
        Path(f"held_{get_rank()}.json").write_text(json.dumps(measure_held(training)))
        return history

    def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        write(path, tensors)
        shutil.copyfile(path, f"checkpoint_{len(tensors['steps'])}.safetensors")

    finetune.run_training, checkpoints.write_tensors = run_training, write_tensors
    finetune.main()


def measure_held(training: Training) -> dict[str, int]:
    """Bytes in this process; `alive` are those of all parameters, whoever has them."""
    weights = list(training.weights.values())
    states = [training.optimizer.state[weight] for weight in weights]
    tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    return {
        "weights": count_bytes(weights),
        "gradients": count_bytes(weight.grad for weight in weights),
        "moments": count_bytes(state[key] for state in states for key in ("exp_avg", "exp_avg_sq")),
        "average": count_bytes(training.ema.shadow_params),
        "alive": count_bytes(tensor for tensor in tensors if tensor.requires_grad),
    }


def count_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """What is stored for tensors, or for this process's shards of them, each counted once."""
    local = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    storages = [tensor.untyped_storage() for tensor in local]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
