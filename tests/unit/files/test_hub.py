import logging
from collections.abc import Iterator

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from stages.config.mistakes import UserError
from stages.files.hub import require_model
from stages.files.models import Model
from tests.fake_hub import COMMIT, FakeHub, serve_hub, write_cache

NAME = "somebody/model"
UNET = "unet/diffusion_pytorch_model.safetensors"
FILES = {"unet/config.json": b"{}", UNET: b"weights"}
SIZES = {UNET: 3_438_083_856}


def build_model(**changes: object) -> Model:
    values = {
        "what": "base model",
        "key": "bases.*.model",
        "name": NAME,
        "revision": COMMIT,
        "wanted": (("unet/config.json",), (UNET,)),
        "sizes": SIZES,
        "patterns": ["*.json", UNET],
        "setting": "bases.*.model: FOLDER",
    }
    return Model(**(values | changes))


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


def test_offline_one_line_says_what_is_missing_how_big_it_is_and_how_to_get_it(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()  # its client is built anew, and then refuses
    write_cache(cache, NAME, {"unet/config.json": b"{}"})
    message = fail(build_model())
    close_session()
    assert (
        f"base model {NAME} (bases.*.model): not in the cache {cache}: {UNET} (3.44 GB)" in message
    )
    assert "3.44 GB in all; the hub was not asked, as HF_HUB_OFFLINE is set; " in message
    command = f"hf download {NAME} --revision {COMMIT} --include '*.json' --include '{UNET}'"
    assert f"with a network run `{command}`, or add `--local-dir FOLDER`" in message
    assert message.endswith("set bases.*.model: FOLDER")


def test_a_hub_out_of_reach_is_one_line_after_one_request(monkeypatch):
    point_at("http://127.0.0.1:9", monkeypatch)  # nobody listens there
    message = fail(build_model())
    assert (
        f"unet/config.json, {UNET} (3.44 GB), 3.44 GB in all; the hub cannot be reached" in message
    )
    assert "hf download" in message


def test_what_can_be_downloaded_is_said_with_the_hubs_own_sizes(hub, caplog):
    caplog.set_level(logging.INFO, "stages.files.hub")
    hub.files = {"unet/config.json": b"{}", UNET: b"w" * 12_000_000}
    require_model(build_model())
    expected = f"downloading from {NAME}: unet/config.json, {UNET} (0.01 GB), 0.01 GB in all"
    assert caplog.messages[-1] == expected
    assert len(hub.requests) == 2


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
        ((500, ""), "the hub answers 500: try again later"),
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
        f"the folder {tmp_path} (bases.*.model) is incomplete: it lacks unet/config.json, {UNET}"
        in message
    )


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    message = fail(build_model(name=str(tmp_path / "none")))
    assert message == f"base model: the folder {tmp_path / 'none'} (bases.*.model) does not exist"
