import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from stages.adapters.foreign import read_foreign
from stages.config.mistakes import UserError
from tests import foreign
from tests.fake_hub import COMMIT, write_cache

TENSORS = {"a.lora_up.weight": torch.ones(2, 2)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's, empty, on a machine that is offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "cache")
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.pth", "a.bin", "named.safetensors"])
def test_a_pickle_is_refused_with_a_command_that_converts_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save(TENSORS, path)
    with pytest.raises(UserError, match=rf"^import\.path: .*{name} is a pickle, which can run"):
        read_foreign(str(path), None)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (TENSORS, "a.lora_up.weight"),
        ({"state_dict": TENSORS, "global_step": 7}, "a.lora_up.weight"),
        ({"string_to_param": {"*": torch.ones(2, 2)}, "name": "cat", "step": 7}, "emb_params"),
    ],
    ids=["bin", "ckpt", "A1111"],
)
def test_the_command_writes_a_file_that_is_read(
    tmp_path: Path, content: Mapping[str, object], key: str
) -> None:
    path = tmp_path / "my file.pt"
    torch.save(content, path)
    with pytest.raises(UserError) as refusal:
        read_foreign(str(path), None)
    python, *rest = shlex.split(str(refusal.value).split("the new file: ")[1])
    assert python == "python"
    subprocess.run([sys.executable, *rest], check=True)
    found = read_foreign(str(tmp_path / "my file.safetensors"), None)
    assert list(found.tensors) == [key]
    assert torch.equal(found.tensors[key], torch.ones(2, 2))


def test_the_command_runs_nothing_that_a_pickle_holds(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "trap.pt"
    torch.save({"a": Trap()}, path)
    with pytest.raises(UserError) as refusal:
        read_foreign(str(path), None)
    command = shlex.split(str(refusal.value).split("the new file: ")[1])
    ran = subprocess.run([sys.executable, *command[1:]], capture_output=True, check=False)
    assert ran.returncode != 0
    assert not (tmp_path / "sprung").exists()


def test_a_whole_file_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    # The first byte is the lowest of the header's length, which is padded to a multiple of eight.
    for length in range(200):
        path = foreign.save(TENSORS, tmp_path / "a.safetensors", note="x" * length)
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert list(read_foreign(str(path), None).tensors) == list(TENSORS)


def test_pickles_alone_in_a_pipelines_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    torch.save(TENSORS, tmp_path / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.bin is a pickle"):
        read_foreign(str(tmp_path), None)
    foreign.save(TENSORS, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    assert read_foreign(str(tmp_path), None).is_pipeline


def test_what_is_not_there_is_said(cache: Path) -> None:
    with pytest.raises(
        UserError, match=r"^import\.path: found lora\.safetensors; there is no such"
    ):
        read_foreign("lora.safetensors", None)
    with pytest.raises(UserError, match=r"found nobody/nothing; .*hub gives none \(.*`hf download"):
        read_foreign("nobody/nothing", None)


def test_a_folder_of_several_files_asks_for_one_of_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        foreign.save(TENSORS, tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match=r"2 files of weights \(a\.safetensors, b\.safet.*name one"):
        read_foreign(str(tmp_path), None)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has neither a \.safetensors file, nor model_index\.json"):
        read_foreign(str(tmp_path), None)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = foreign.save(TENSORS, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        UserError, match=r"a\.safetensors is no whole \.safetensors file .*get it ag"
    ):
        read_foreign(str(path), None)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    digests = [
        read_foreign(
            str(foreign.save({"a": torch.full((2,), v)}, tmp_path / "a.safetensors")), None
        )
        for v in (1.0, 1.0, 2.0)
    ]
    assert digests[0].digest == digests[1].digest != digests[2].digest


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("me/lora", ["pytorch_lora_weights.safetensors"]),
        ("me/lora/b.safetensors", ["a.safetensors", "b.safetensors"]),
        ("me/lora/deep/b.safetensors", ["deep/b.safetensors", "a.safetensors"]),
    ],
)
def test_a_file_of_the_hubs_is_read_from_its_cache(
    cache: Path, name: str, files: list[str]
) -> None:
    write_cache(cache, "me/lora", dict.fromkeys(files, save(TENSORS)))
    assert list(read_foreign(name, None).tensors) == list(TENSORS)
    assert list(read_foreign(name, COMMIT).tensors) == list(TENSORS)


def test_an_adapter_of_pefts_is_read_from_the_hubs_cache(cache: Path) -> None:
    config = json.dumps({"r": 2, "peft_type": "LORA"}).encode()
    files = {"adapter_config.json": config, "adapter_model.safetensors": save(TENSORS)}
    write_cache(cache, "me/peft", files)
    assert read_foreign("me/peft", None).configs == {"": {"r": 2, "peft_type": "LORA"}}


def test_a_damaged_config_is_refused(tmp_path: Path) -> None:
    foreign.save(TENSORS, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=r"adapter_config\.json is damaged"):
        read_foreign(str(tmp_path), None)
