"""Training in several processes: each computes its part of every batch, all take the same step.

Gradients are averaged by hand rather than by DistributedDataParallel: nothing is wrapped, so that
weights keep their names, and one process runs the code of many.
"""

from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stages.run.processes import count_processes, get_rank, is_sharded
from stages.training.loss import NoisyBatch


def take_part(batch: NoisyBatch) -> NoisyBatch:
    """This process's part of a batch: as many pairs as every other's, so that means agree."""
    size, rest = divmod(len(batch.timesteps), count_processes())
    assert not rest, "params.yaml was checked for this"
    return batch.split(size)[get_rank()]


def take_turns(batches: Sequence[NoisyBatch]) -> list[tuple[NoisyBatch, int]]:
    """The batches that are this process's, every n-th, each with its number of pairs.

    Weights in shards are gathered by all processes together, so all take as many turns: one for
    which none is left repeats the last batch, as of no pairs.
    """
    turns = [(batch, len(batch.timesteps)) for batch in batches]
    if is_sharded():
        turns += [(batches[-1], 0)] * (-len(turns) % count_processes())
    return turns[get_rank() :: count_processes()]


@torch.no_grad()
def average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Give each process the gradient of the whole batch, the mean of their parts' gradients.

    In shards it is that already.
    """
    if count_processes() == 1 or is_sharded():
        return
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.copy_(accelerator.reduce(parameter.grad, "mean"))


def reduce(accelerator: Accelerator, value: float, how: str) -> float:
    """The "sum" or the "mean" of a number over the processes."""
    if count_processes() == 1:
        return value
    tensor: Tensor = accelerator.reduce(
        torch.tensor(value, dtype=torch.float64, device=accelerator.device), how
    )
    return tensor.item()
