import pytest
import torch

from stages.run.processes import SHARDED
from stages.training.loss import NoisyBatch
from stages.training.parallel import take_part, take_turns


def build_batch(count: int) -> NoisyBatch:
    values = torch.arange(count)
    return NoisyBatch(*(values.view(-1, 1, 1, 1),) * 2, values, values.view(-1, 1, 1))


def become(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    for name, value in {"WORLD_SIZE": count, "RANK": rank, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, str(value))


def test_parts_of_a_batch_are_equal_and_together_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in range(4):
        become(monkeypatch, rank, 4)
        parts.append(take_part(build_batch(8)).timesteps.tolist())
    assert parts == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_one_process_takes_the_whole_batch() -> None:
    assert take_part(build_batch(5)).timesteps.tolist() == [0, 1, 2, 3, 4]


def test_each_batch_has_its_turn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, taken = [build_batch(count) for count in (1, 2, 3)], []
    for rank in range(2):
        become(monkeypatch, rank, 2)
        taken.append([(len(batch.timesteps), count) for batch, count in take_turns(batches)])
    assert taken == [[(1, 1), (3, 3)], [(2, 2)]]


def test_with_weights_in_shards_all_take_as_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARDED, "1")
    batches, taken = [build_batch(count) for count in (1, 2, 3)], []
    for rank in range(2):
        become(monkeypatch, rank, 2)
        taken.append([(len(batch.timesteps), count) for batch, count in take_turns(batches)])
    assert taken == [[(1, 1), (3, 3)], [(2, 2), (3, 0)]]
