from pathlib import Path

import pytest
import torch

from stages.config.mistakes import UserError
from stages.files.tensors import (
    Latents,
    build_latents,
    build_prompt_embeds,
    hash_inputs,
    map_tensor,
    read_finetuned,
    read_latents,
    read_prompt_embeds,
    read_tensors,
    write_finetuned,
    write_tensors,
)


def build_some_latents() -> Latents:
    mean = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None, None, None].expand(4, 4, 2, 2)
    return build_latents(mean, torch.ones(4, 4, 2, 2), ["train"] * 3 + ["validation"], 0.18215)


def test_latents_come_back_as_written(tmp_path: Path) -> None:
    latents = build_some_latents()
    write_tensors(tmp_path / "new" / "latents.safetensors", latents._asdict())
    found = read_latents(tmp_path / "new" / "latents.safetensors")
    assert all(torch.equal(one, other) for one, other in zip(found, latents, strict=True))
    assert found.scaling_factor.item() == 0.18215
    assert found.mean[:, 0, 0, 0].tolist() == [0, 0, 1, 1]


def test_prompt_embeds_come_back_as_written(tmp_path: Path) -> None:
    embeds = build_prompt_embeds(torch.ones(2, 3, 4), [1, 0, 1])
    write_tensors(tmp_path / "e", embeds._asdict())
    assert read_prompt_embeds(tmp_path / "e").caption_index.tolist() == [1, 0, 1]


def test_a_mapped_tensor_lives_in_its_file(tmp_path: Path) -> None:
    tensor = map_tensor(tmp_path / "tensor", (3, 2))
    assert (tmp_path / "tensor").read_bytes() == bytes(24)
    tensor[2] = torch.tensor([1.0, 2.0])
    assert torch.frombuffer(bytearray((tmp_path / "tensor").read_bytes()), dtype=torch.float32)[
        4:
    ].tolist() == [1, 2]


def test_a_mapped_tensor_that_the_disk_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left|File too large"):
        map_tensor(tmp_path / "tensor", (2**40, 2**10))


def test_a_missing_file_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro encode"):
        read_latents(tmp_path / "latents.safetensors")
    with pytest.raises(UserError, match="dvc repro finetune"):
        read_finetuned(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latents.safetensors"
    write_tensors(path, build_some_latents()._asdict())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        read_latents(path)


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "latents", {"mean": torch.zeros(1)})
    with pytest.raises(UserError, match="lacks scaling_factor, split, std"):
        read_latents(tmp_path / "latents")


def test_nan_latents_are_refused(tmp_path: Path) -> None:
    latents = build_some_latents()
    latents.std[0, 0, 0, 0] = float("nan")
    write_tensors(tmp_path / "latents", latents._asdict())
    with pytest.raises(UserError, match="std holds values that are not finite"):
        read_latents(tmp_path / "latents")


def test_finetuned_weights_come_back_with_their_config(tmp_path: Path) -> None:
    write_finetuned(tmp_path / "f", {"a.attn2": torch.ones(2)}, {"method": "attn2"})
    weights, config = read_finetuned(tmp_path / "f")
    assert weights["a.attn2"].tolist() == [1, 1]
    assert config == {"method": "attn2"}


def test_nothing_partial_is_left_behind(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"a": torch.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    assert read_tensors(tmp_path / "t", "encode")["a"].item() == 1


def test_a_hash_depends_on_values_and_bytes_but_not_on_key_order(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"1")
    first = hash_inputs({"a": 1, "b": 2}, file)
    assert hash_inputs({"b": 2, "a": 1}, file) == first
    assert hash_inputs({"a": 1, "b": 3}, file) != first
    file.write_bytes(b"2")
    assert hash_inputs({"a": 1, "b": 2}, file) != first
