import json
import logging
from collections.abc import Iterator

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from stages.config.mistakes import UserError
from stages.files.hub import Missing, Model, fetch_model, find_missing, require_model
from tests.fake_hub import COMMIT, FakeHub, serve_hub, write_cache

NAME = "somebody/model"
UNET = "unet/diffusion_pytorch_model.safetensors"
WANTED = (("unet/config.json",), ("vocab.json", "tokenizer.json"), (UNET,))
ALL = {"unet/config.json": b"{}", "vocab.json": b"{}", UNET: b"weights"}
SHARDS = [UNET.replace(".s", f"-0000{number}-of-00002.s") for number in (1, 2)]
INDEX = json.dumps({"weight_map": {f"w{i}": s.split("/")[1] for i, s in enumerate(SHARDS)}})
FILES = {"unet/config.json": b"{}", UNET: b"weights"}


def build_model(**changes: object) -> Model:
    values = {
        "what": "base model",
        "key": "bases.*.model",
        "name": NAME,
        "revision": COMMIT,
        "wanted": (("unet/config.json",), (UNET,)),
        "patterns": ["*.json", UNET],
        "setting": "bases.*.model: FOLDER",
    }
    return Model(**(values | changes))


def build_whole(revision: str | None = None, **changes: object) -> Model:
    return build_model(wanted=WANTED, revision=revision, **changes)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def point_at(endpoint: str, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(monkeypatch) -> Iterator[FakeHub]:
    with serve_hub(FakeHub(FILES)) as hub:
        point_at(hub.endpoint, monkeypatch)
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
    assert f"base model {NAME} (bases.*.model): not in the cache {cache}: {UNET}" in message
    assert f"{UNET}; the hub was not asked, as HF_HUB_OFFLINE is set; " in message
    command = f"hf download {NAME} --revision {COMMIT} --include '*.json' --include '{UNET}'"
    assert f"with a network run `{command}`, or add `--local-dir FOLDER`" in message
    assert message.endswith("set bases.*.model: FOLDER")


def test_a_hub_out_of_reach_is_one_line_after_one_request(monkeypatch):
    point_at("http://127.0.0.1:9", monkeypatch)  # nobody listens there
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


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((401, "GatedRepo"), "401: it is gated: accept its licence at "),
        ((403, "GatedRepo"), "or set HF_TOKEN"),
        (
            (401, "RepoNotFound"),
            "no such repository, or it is private: check bases.*.model; `hf auth",
        ),
        ((404, "RevisionNotFound"), f"404: it has no revision {COMMIT}"),
        ((403, ""), "403: the hub refuses: `hf auth login`, or set HF_TOKEN"),
        ((500, ""), "500: the hub fails: try later"),
    ],
)
def test_a_refusal_is_told_in_one_line(hub, refusal, words):
    hub.refusal = refusal
    assert words in fail(build_model())


def test_a_gate_that_hides_the_files_alone_is_found_before_the_download(hub):
    hub.is_gated = True
    message = fail(build_model())
    assert (
        f"403: it is gated: accept its licence at {hub.endpoint}/{NAME}, then `hf auth" in message
    )


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
    files |= {f"{UNET}.index.json": INDEX.encode()} | {shard: shard.encode() for shard in SHARDS}
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


def test_a_download_that_fails_is_told_and_no_other_file_is_tried(hub):
    model = build_model(wanted=((UNET, "unet/diffusion_pytorch_model.bin"),))
    hub.is_gated = True
    with pytest.raises(UserError) as caught:
        fetch_model(model)
    assert f"the download of {UNET} failed; 403: it is gated" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not any(".bin" in request for request in hub.requests)


def test_the_other_name_is_downloaded_where_the_first_is_not_there(hub):
    model = build_model(wanted=(("model.safetensors", UNET),))
    fetch_model(model)
    assert model.list_missing() == []


@pytest.mark.thorough
def test_a_download_without_a_network_is_told(monkeypatch):
    point_at("http://127.0.0.1:9", monkeypatch)  # nobody listens there
    with pytest.raises(UserError, match=f"the download of {UNET} failed; the hub cannot be"):
        fetch_model(build_model(wanted=((UNET, "model.bin"),)))
