"""What is refused; that training in shards works is in tests/e2e/test_sharding.py."""

import pytest
import torch

from stages.config.mistakes import UserError
from stages.run.processes import SHARDED
from stages.training.sharding import check_sharding, gather_shards, shard_like
from tests.unit.conftest import build_finetune_params


def become_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", SHARDED):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "lora"),
        ("method", "hydra_lora"),
        ("method", "textual_inversion"),
        ("optimizer", "adamw_8bit"),
    ],
)
def test_what_cannot_be_in_shards_is_refused_in_one_line(
    key: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = build_finetune_params(**{key: value})
    check_sharding(params)
    become_sharded(monkeypatch)
    with pytest.raises(UserError, match=rf"^params\.yaml: finetune\.{key}: found {value},.*$"):
        check_sharding(params)


@pytest.mark.parametrize("method", ["attn2", "attn2_kv", "full"])
def test_methods_that_train_weights_of_the_unet_can_be_in_shards(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    become_sharded(monkeypatch)
    check_sharding(build_finetune_params(method=method))


def test_what_is_whole_is_handed_back() -> None:
    tensor = torch.zeros(2)
    assert gather_shards({"weight": tensor})["weight"] is tensor
    assert shard_like(tensor, tensor) is tensor
