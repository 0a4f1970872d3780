"""Run the loop to its last step; a run that was killed goes on to the same bytes."""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from stages.files.tensors import read_checkpoint
from stages.run.interrupt import defer_interrupt
from stages.run.peaks import watch_part
from stages.run.processes import is_main_process
from stages.training.checkpoints import CheckpointWriter
from stages.training.lesson import Lesson
from stages.training.optimizer import pack_state, unpack_state
from stages.training.parallel import reduce
from stages.training.sharding import gather_shards, shard_like
from stages.training.train import Training, TrainStep, measure_validation_loss, train

logger = logging.getLogger(__name__)

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


def run_training(
    training: Training,
    lesson: Lesson,
    checkpoint: Path,
    name: str,
    note_progress: Callable[[], object] = lambda: None,
) -> History:
    """Train to the last step, from the checkpoint if there is one.

    Args:
        training: What the loop works on.
        lesson: What is learned.
        checkpoint: A file for these inputs and no others.
        name: What people see at the progress bar.
        note_progress: Called whenever the checkpoint has been saved.
    """
    params = training.params
    if tensors := read_checkpoint(checkpoint):
        history = unpack_checkpoint(training, tensors)
        logger.info("%s: goes on after step %d", name, len(history.steps))
    else:
        history = History(validation=[(0, measure_validation_loss(training, lesson))])
    steps = train(training, lesson, history.next_step)
    num_done, num_steps = len(history.steps), params.max_train_steps
    bar = tqdm(total=num_steps, initial=num_done, desc=name, disable=not is_main_process())
    writer = CheckpointWriter(checkpoint, note_progress)
    with bar, defer_interrupt() as is_interrupted, writer, watch_part("training"):
        for record in steps:
            step, is_last = record.step, record.step == num_steps
            history.steps.append(record)
            if is_last or step % params.validation_steps == 0:
                loss = measure_validation_loss(training, lesson)
                history.validation.append((step, loss))
            # All processes have to stop after the same step, and to pack the same checkpoints.
            is_stopping = reduce(training.accelerator, float(is_interrupted()), "sum") > 0
            is_due = step % params.checkpoint_steps == 0 and (
                reduce(training.accelerator, float(not writer.is_affordable()), "sum") == 0
            )
            if is_last or is_due or is_stopping:
                writer.write(lambda: pack_checkpoint(training, history))
            bar.set_postfix(loss=f"{record.loss:.4f}", refresh=False)
            bar.update()
            if is_stopping:
                writer.finish()
                raise KeyboardInterrupt(f"after step {step}; the same command goes on from there")
        writer.finish()
    return history


def pack_checkpoint(training: Training, history: History) -> dict[str, Tensor]:
    """Weights and their average, buffers, the optimizer's and the loss scaler's state, the log.

    At least one step has been taken. All processes have to call it together; where weights are in
    shards, only the main process gets all.
    """
    tensors = {
        "steps": torch.tensor(history.steps, dtype=torch.float64),  # (S, 5)
        "validation": torch.tensor(history.validation, dtype=torch.float64),  # (V, 2)
    }
    tensors |= {f"buffer/{name}": buffer for name, buffer in training.model.named_buffers()}
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
    for name, buffer in training.model.named_buffers():
        buffer.copy_(tensors[f"buffer/{name}"])
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
