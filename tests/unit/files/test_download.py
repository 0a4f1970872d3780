import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from stages.config.mistakes import UserError
from stages.files.download import fetch_model
from stages.files.hub import Model, find_missing
from tests.fake_hub import (
    NAME,
    NOWHERE,
    UNET,
    FakeHub,
    build_model,
    point_at,
    serve_hub,
    write_cache,
)

WEIGHTS = save({"w": np.arange(5000, dtype=np.float32)})
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {"unet/config.json": b"{}", "unet/more.json": b"[]", "notes.md": b"", UNET: WEIGHTS}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve_hub(FakeHub(FILES, NAME)) as hub:
        point_at(hub.endpoint, cache, monkeypatch)
        yield hub


def fail(model: Model) -> str:
    with pytest.raises(UserError) as caught:
        fetch_model(model)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_what_is_missing_is_downloaded_and_then_nothing_is_asked(hub: FakeHub) -> None:
    fetch_model(build_model())
    assert find_missing(build_model()).files == ()
    found = {name for name in FILES if build_model().find(name)}
    assert found == {"unet/config.json", "unet/more.json", UNET}
    assert build_model().find(UNET).read_bytes() == WEIGHTS
    hub.requests.clear()
    fetch_model(build_model())
    assert hub.requests == []


def test_a_token_opens_the_hub_and_goes_to_no_other_host(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    fetch_model(build_model())  # the host of large files refuses a token
    assert hub.tokens == {"hf_mine"}


def test_a_download_that_was_cut_goes_on_where_it_stopped(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # 10 MB: what is less is lost
    hub.dies_after = 7000
    message = fail(build_model())
    assert f"the download of {UNET} failed; 500: try later" in message
    assert build_model().list_missing() == [UNET]
    hub.dies_after, hub.refusal = None, None
    fetch_model(build_model())
    assert hub.starts == [0, 7000]
    assert build_model().find(UNET).read_bytes() == WEIGHTS


def test_what_went_on_after_other_bytes_is_deleted_and_then_downloaded_whole(
    cache: Path, hub: FakeHub
) -> None:
    blobs = cache / "models--somebody--model/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{DIGEST}.incomplete").write_bytes(b"other")
    assert "what came is not the hub's file" in fail(build_model())
    fetch_model(build_model())
    assert hub.starts == [5, 0]
    assert build_model().find(UNET).read_bytes() == WEIGHTS


def test_a_file_that_came_whole_before_a_kill_is_not_asked_for_again(
    cache: Path, hub: FakeHub
) -> None:
    blobs = cache / "models--somebody--model/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{DIGEST}.incomplete").write_bytes(WEIGHTS)
    fetch_model(build_model())
    assert hub.starts == []
    assert build_model().find(UNET).read_bytes() == WEIGHTS


def test_a_download_that_fails_is_told_and_no_other_file_is_tried(hub: FakeHub) -> None:
    hub.files = FILES | {"unet/diffusion_pytorch_model.bin": b"pickle"}
    hub.is_gated = True
    pickle = "unet/diffusion_pytorch_model.bin"
    message = fail(build_model(wanted=((UNET, pickle),), patterns=[UNET]))
    assert f"the download of {UNET} failed; 401: it is gated" in message
    assert not any(".bin" in request for request in hub.requests)


def test_the_other_name_is_downloaded_where_the_first_is_not_there(hub: FakeHub) -> None:
    model = build_model(wanted=(("model.safetensors", UNET),))
    fetch_model(model)
    assert model.list_missing() == []
    assert find_missing(model).files == ()


def test_shards_are_downloaded_for_the_whole_and_counted(hub: FakeHub) -> None:
    shards = [UNET.replace(".s", f"-0000{number}-of-00002.s") for number in (1, 2)]
    names = ", ".join(f'"w{i}": "{Path(shard).name}"' for i, shard in enumerate(shards))
    index = f'{{"weight_map": {{{names}}}}}'.encode()
    hub.files = {"unet/config.json": b"{}", f"{UNET}.index.json": index}
    hub.files |= dict.fromkeys(shards, WEIGHTS)
    size = 2 + len(index) + 2 * len(WEIGHTS)
    assert find_missing(build_model()).num_bytes == size
    fetch_model(build_model())
    assert build_model().list_missing() == []
    assert [build_model().find(shard).read_bytes() for shard in shards] == [WEIGHTS, WEIGHTS]


def test_a_full_disk_is_told_as_what_it_is(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.files.download.http_get", fill)
    assert fail(build_model()).endswith("failed; [Errno 28] No space left on device")


def test_a_folder_is_never_downloaded(tmp_path: Path, hub: FakeHub) -> None:
    fetch_model(build_model(name=str(tmp_path)))
    assert hub.requests == []


def test_without_a_network_a_whole_model_is_fetched_by_doing_nothing_and_another_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(NOWHERE, cache, monkeypatch)
    assert "the download of its list of files failed; the hub cannot be" in fail(build_model())
    write_cache(cache, NAME, FILES)
    fetch_model(build_model())
