import json
import logging
from collections.abc import Iterator

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from safetensors.numpy import save

from stages.config.mistakes import UserError
from stages.files.hub import Missing, Model, find_missing, require_model
from tests.fake_hub import (
    COMMIT,
    NAME,
    NOWHERE,
    UNET,
    FakeHub,
    build_model,
    point_at,
    serve_hub,
    write_cache,
)

WANTED = (("unet/config.json",), ("vocab.json", "tokenizer.json"), (UNET,))
WEIGHTS = save({"w": np.zeros(3, np.float32)})
ALL = {"unet/config.json": b"{}", "vocab.json": b"{}", UNET: WEIGHTS}
SHARDS = [UNET.replace(".s", f"-0000{number}-of-00002.s") for number in (1, 2)]
INDEX = json.dumps({"weight_map": {f"w{i}": s.split("/")[1] for i, s in enumerate(SHARDS)}})
FILES = {"unet/config.json": b"{}", UNET: WEIGHTS}


def build_whole(revision: str | None = None, **changes: object) -> Model:
    return build_model(wanted=WANTED, revision=revision, **changes)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    point_at(NOWHERE, tmp_path / "hub", monkeypatch)
    return tmp_path / "hub"


@pytest.fixture
def hub(cache, monkeypatch) -> Iterator[FakeHub]:
    with serve_hub(FakeHub(FILES, NAME)) as hub:
        point_at(hub.endpoint, cache, monkeypatch)
        yield hub


def fail(model: Model) -> str:
    with pytest.raises(UserError) as caught:
        require_model(model)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_model_that_is_here_needs_no_hub(cache, hub):
    write_cache(cache, NAME, FILES)
    require_model(build_model())
    assert hub.requests == []


def test_offline_one_line_says_what_is_missing_and_how_to_get_it(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()  # its client is built anew, and then refuses
    write_cache(cache, NAME, {"unet/config.json": b"{}"})
    message = fail(build_model())
    close_session()
    assert message.startswith(f"base model {NAME} (bases.*.model): in the cache {cache} it lacks ")
    assert f"it lacks {UNET}; the hub was not asked, as HF_HUB_OFFLINE is set; " in message
    command = f"hf download {NAME} --revision {COMMIT} --include '*.json' --include '{UNET}'"
    assert f"with a network run `{command}`, or add `--local-dir FOLDER`" in message
    assert message.endswith("set bases.*.model: FOLDER")


def test_a_hub_out_of_reach_is_one_line_after_one_request():
    message = fail(build_model())
    assert f"unet/config.json, {UNET}; the hub cannot be reached" in message
    assert "hf download" in message


def test_what_can_be_downloaded_is_said_with_its_size(hub, caplog):
    caplog.set_level(logging.INFO, "stages.files.hub")
    hub.files = {"unet/config.json": b"{}", UNET: b"w" * 12_000_000}
    require_model(build_model())
    expected = f"downloading from {NAME}: unet/config.json, {UNET}, 0.01 GB in all"
    assert caplog.messages[-1] == expected


def test_what_is_missing_is_found_with_its_bytes_and_nothing_is_downloaded(cache, hub):
    write_cache(cache, NAME, {"unet/config.json": b"{}"})
    hub.files = {"unet/config.json": b"{}", UNET: b"w" * 1234, "vae.safetensors": b"not wanted"}
    assert find_missing(build_model()) == Missing((UNET,), num_bytes=1234)
    assert build_model().list_missing() == [UNET]


def test_of_a_whole_model_nothing_is_missing(cache, hub):
    write_cache(cache, NAME, FILES)
    assert find_missing(build_model()) == Missing()


def test_a_repository_without_the_weights_is_named(hub):
    hub.files = {"unet/config.json": b"{}", "unet/diffusion_pytorch_model.bin": b"pickle"}
    assert f"the hub's repository has no {UNET} either" in fail(build_model())


def test_a_repository_may_have_the_other_name_or_shards(hub):
    hub.files = {"tokenizer.json": b"{}", f"{UNET}.index.json": b"{}"}
    require_model(build_model(wanted=(("vocab.json", "tokenizer.json"), (UNET,))))


LOG_IN = "run `hf auth login`, or set HF_TOKEN, for an account that may read it"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, ""), f"403: the hub refuses, and no token was sent: {LOG_IN}"),
        ((500, ""), "500: try later"),
    ],
)
def test_another_refusal_is_told_in_one_line(hub, refusal, words):
    hub.refusal = refusal
    assert fail(build_model()).endswith(words)


def test_a_name_that_no_repository_can_have_is_said(hub):
    assert "that is no name of a repository: check bases.*.model" in fail(build_model(name="a/b/c"))
    assert hub.requests == []


def test_a_folder_that_lacks_files_names_all_of_them(tmp_path):
    message = fail(build_model(name=str(tmp_path)))
    assert (
        f"{tmp_path} (bases.*.model): this folder is incomplete: it lacks unet/config.json, {UNET}"
        in message
    )


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    message = fail(build_model(name=str(tmp_path / "none")))
    name = tmp_path / "none"
    assert message == f"base model {name} (bases.*.model): this folder does not exist"


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_whole_snapshot_lacks_nothing(cache, revision):
    write_cache(cache, NAME, ALL)
    assert build_whole(revision=revision).list_missing() == []


def test_an_empty_cache_lacks_each_need_by_its_first_name(cache):
    assert build_whole().list_missing() == ["unet/config.json", "vocab.json", UNET]


def test_either_of_two_names_meets_a_need(cache):
    files = {name: content for name, content in ALL.items() if name != "vocab.json"}
    write_cache(cache, NAME, files | {"tokenizer.json": b"{}"})
    assert build_whole().list_missing() == []


def test_a_link_whose_blob_is_gone_is_missing(cache):
    snapshot = write_cache(cache, NAME, ALL)
    (snapshot / UNET).resolve().unlink()
    assert (snapshot / UNET).is_symlink()
    assert build_whole().list_missing() == [UNET]


def test_another_revision_than_the_one_that_is_here_is_missing(cache):
    write_cache(cache, NAME, ALL)
    assert len(build_whole(revision="f" * 40).list_missing()) == 3


def test_shards_stand_for_the_whole_and_a_missing_one_is_named(cache):
    files = {"unet/config.json": b"{}", "vocab.json": b"{}"}
    files |= {f"{UNET}.index.json": INDEX.encode()} | dict.fromkeys(SHARDS, WEIGHTS)
    snapshot = write_cache(cache, NAME, files)
    assert build_whole().list_missing() == []
    (snapshot / SHARDS[1]).unlink()
    assert build_whole().list_missing() == [SHARDS[1]]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_that_names_no_shards_stands_for_nothing(cache, text):
    files = {"unet/config.json": b"{}", "vocab.json": b"{}", f"{UNET}.index.json": text.encode()}
    write_cache(cache, NAME, files)
    assert build_whole().list_missing() == [UNET]


def test_a_folder_is_looked_into_like_a_snapshot(cache, tmp_path):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/config.json").write_text("{}")
    assert build_whole(name=str(folder)).list_missing() == ["vocab.json", UNET]


@pytest.mark.parametrize("name", ["name", "owner/name", "a/b/c", "not a name", "owner--x/name"])
def test_any_text_that_is_no_folder_is_looked_up_in_the_cache(cache, name):
    assert len(build_whole(name=name).list_missing()) == 3


@pytest.mark.parametrize("content", [WEIGHTS[:-1], WEIGHTS[:5], b"", b"version https://git-lfs"])
def test_weights_that_are_cut_are_named_with_the_command_that_replaces_them(cache, hub, content):
    write_cache(cache, NAME, FILES | {UNET: content})
    again = f"`hf download {NAME} --revision {COMMIT} {UNET} --force-download`"
    expected = f"in the cache {cache}: {UNET} cut or damaged; replace it by {again}"
    assert fail(build_model()) == f"base model {NAME} (bases.*.model): {expected}"
    assert hub.requests == []


def test_a_config_and_a_shard_that_are_cut_are_named(cache):
    files = ALL | {f"{UNET}.index.json": INDEX.encode(), SHARDS[0]: WEIGHTS[:-1]}
    files |= {"unet/config.json": b'{"a": ', SHARDS[1]: WEIGHTS}
    del files[UNET]
    write_cache(cache, NAME, files)
    assert build_whole().list_broken() == ["unet/config.json", SHARDS[0]]
    assert build_whole().list_missing() == []


def test_a_folder_names_what_it_lacks_and_what_is_cut(tmp_path):
    folder = tmp_path / "model/unet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{")
    message = fail(build_model(name=str(tmp_path / "model")))
    assert f"this folder is incomplete: it lacks {UNET} and unet/config.json cut or" in message
