"""The state of a training run as tensors, so that a killed run goes on to the same bytes."""

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stages.training.optimizer import pack_state, unpack_state
from stages.training.sharding import gather_shards, shard_like
from stages.training.train import Training, TrainStep

OPTIMIZER = "optimizer/"
"""Before the names of what the optimizer keeps."""


@dataclass
class History:
    """The log of a run: its steps, and validation losses with their step."""

    steps: list[TrainStep] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)

    @property
    def next_step(self) -> int:
        """The 1-based step to take next."""
        return len(self.steps) + 1


def pack_checkpoint(training: Training, history: History) -> dict[str, Tensor]:
    """Weights and their average, the optimizer's state, the loss scaler's state and the log.

    At least one step has been taken. All processes have to call it together; where weights are in
    shards, the main process alone gets all.
    """
    tensors = {
        "steps": torch.tensor(history.steps, dtype=torch.float64),  # (S, 5)
        "validation": torch.tensor(history.validation, dtype=torch.float64),  # (V, 2)
    }
    for name, weight in training.weights.items():
        tensors[f"weight/{name}"] = weight.detach()
        for key, value in pack_state(training.optimizer, weight).items():
            tensors[f"{OPTIMIZER}{key}/{name}"] = value
    if training.ema is not None:
        for name, average in zip(training.weights, training.ema.shadow_params, strict=True):
            tensors[f"ema/{name}"] = average
    scaler = training.accelerator.scaler
    if scaler is not None:
        state = scaler.state_dict()
        pair = [state["scale"], state["_growth_tracker"]]
        tensors["loss_scaler"] = torch.tensor(pair, dtype=torch.float64)
    return gather_shards(tensors)


@torch.no_grad()
def unpack_checkpoint(training: Training, tensors: dict[str, Tensor]) -> History:
    """Put a packed state back into `training` and return the log."""
    states: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for path, value in tensors.items():
        if path.startswith(OPTIMIZER):
            key, name = path.removeprefix(OPTIMIZER).split("/", 1)
            states[name][key] = value
    for name, weight in training.weights.items():
        weight.copy_(shard_like(tensors[f"weight/{name}"], weight))
        unpack_state(training.optimizer, weight, states[name])
    if training.ema is not None:
        for name, average in zip(training.weights, training.ema.shadow_params, strict=True):
            average.copy_(shard_like(tensors[f"ema/{name}"], average))
        training.ema.optimization_step = len(tensors["steps"])
    scaler = training.accelerator.scaler
    if scaler is not None:
        scale, growth_tracker = tensors["loss_scaler"].tolist()
        state = {"scale": scale, "_growth_tracker": int(growth_tracker)}
        scaler.load_state_dict(scaler.state_dict() | state)
    steps = [TrainStep(int(step), *rest) for step, *rest in tensors["steps"].tolist()]
    return History(steps, [(int(step), loss) for step, loss in tensors["validation"].tolist()])
