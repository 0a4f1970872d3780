import json

import pytest
from huggingface_hub import constants

from stages.files.models import Model
from tests.fake_hub import COMMIT, write_cache

NAME = "somebody/model"
UNET = "unet/diffusion_pytorch_model.safetensors"
WANTED = (("unet/config.json",), ("vocab.json", "tokenizer.json"), (UNET,))
ALL = {"unet/config.json": b"{}", "vocab.json": b"{}", UNET: b"weights"}
SHARDS = [UNET.replace(".s", f"-0000{number}-of-00002.s") for number in (1, 2)]
INDEX = json.dumps({"weight_map": {f"w{i}": s.split("/")[1] for i, s in enumerate(SHARDS)}})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def build_model(name=NAME, revision=None):
    return Model("base model", "bases.*.model", name, revision, WANTED, {}, ["*.json"], "x: FOLDER")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_whole_snapshot_lacks_nothing(cache, revision):
    write_cache(cache, NAME, ALL)
    assert build_model(revision=revision).list_missing() == []


def test_an_empty_cache_lacks_each_need_by_its_first_name(cache):
    assert build_model().list_missing() == ["unet/config.json", "vocab.json", UNET]


def test_either_of_two_names_meets_a_need(cache):
    files = {name: content for name, content in ALL.items() if name != "vocab.json"}
    write_cache(cache, NAME, files | {"tokenizer.json": b"{}"})
    assert build_model().list_missing() == []


def test_a_link_whose_blob_is_gone_is_missing(cache):
    snapshot = write_cache(cache, NAME, ALL)
    (snapshot / UNET).resolve().unlink()
    assert (snapshot / UNET).is_symlink()
    assert build_model().list_missing() == [UNET]


def test_another_revision_than_the_one_that_is_here_is_missing(cache):
    write_cache(cache, NAME, ALL)
    assert len(build_model(revision="f" * 40).list_missing()) == 3


def test_shards_stand_for_the_whole_and_a_missing_one_is_named(cache):
    files = {"unet/config.json": b"{}", "vocab.json": b"{}"}
    files |= {f"{UNET}.index.json": INDEX.encode()} | {shard: shard.encode() for shard in SHARDS}
    snapshot = write_cache(cache, NAME, files)
    assert build_model().list_missing() == []
    (snapshot / SHARDS[1]).unlink()
    assert build_model().list_missing() == [SHARDS[1]]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_that_names_no_shards_stands_for_nothing(cache, text):
    files = {"unet/config.json": b"{}", "vocab.json": b"{}", f"{UNET}.index.json": text.encode()}
    write_cache(cache, NAME, files)
    assert build_model().list_missing() == [UNET]


def test_a_folder_is_looked_into_like_a_snapshot(cache, tmp_path):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/config.json").write_text("{}")
    assert build_model(str(folder)).list_missing() == ["vocab.json", UNET]


@pytest.mark.parametrize("name", ["name", "owner/name", "a/b/c", "not a name", "owner--x/name"])
def test_any_text_that_is_no_folder_is_looked_up_in_the_cache(cache, name):
    assert len(build_model(name).list_missing()) == 3
