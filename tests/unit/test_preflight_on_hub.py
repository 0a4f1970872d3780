"""A base that the hub won't give, or not whole, is one line of `preflight`, before long work."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from stages import preflight
from stages.base.base_files import describe_base
from stages.base.components import load_models
from stages.config.mistakes import UserError
from stages.config.params import load_params
from tests.fake_hub import COMMIT, NOWHERE, FakeHub, point_at, serve_hub, write_cache
from tests.tiny import IMAGE_SIZE_PX, build_scorer
from tests.unit.stable_diffusion_project import edit_params, write_params

NAME = "somebody/micro"
UNET = "unet/diffusion_pytorch_model.safetensors"
LOG_IN = "run `hf auth login`, or set HF_TOKEN, for an account that may read it"


@pytest.fixture
def files(base_folder: Path) -> dict[str, bytes]:
    paths = base_folder.rglob("*.*")
    return {str(path.relative_to(base_folder)): path.read_bytes() for path in paths}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub(
    files: dict[str, bytes], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHub]:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    choose_base()
    build_scorer(tmp_path / "models/tiny-scorer")
    with serve_hub(FakeHub(files, NAME)) as hub:
        point_at(hub.endpoint, cache, monkeypatch)
        yield hub
    close_session()  # its client has seen whether the hub was to be asked


def choose_base(**changes: object) -> None:
    base = {"model": NAME, "revision": COMMIT, "resolution_px": IMAGE_SIZE_PX} | changes
    edit_params(Path(), "bases", tiny=base)


def fail(hub: FakeHub) -> str:
    with pytest.raises(UserError) as caught:
        preflight.require_all(load_params(), None)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"base model {load_params().chosen.model} (bases.*.model): ")
    assert hub.starts == []  # nothing large was asked for
    return line


def fetch_command() -> str:
    return f"run `{describe_base(load_params().chosen).download_command}`, or add `--local-dir"


def go_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(NOWHERE, cache, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()


def test_a_base_is_downloaded_before_it_is_loaded_and_then_needs_no_network(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight.require_all(load_params(), None)
    preflight.open_models(load_params(), None)
    assert hub.starts == [0, 0, 0]  # U-Net, VAE, text encoder
    go_offline(cache, monkeypatch)
    preflight.require_all(load_params(), None)
    load_models(load_params().chosen)


def test_a_download_that_was_cut_goes_on_in_the_next_run(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # 10 MB: what is less is lost
    hub.dies_after = 3000
    with pytest.raises(UserError, match=f"the download of {UNET} failed; 500: try later"):
        preflight.open_models(load_params(), None)
    hub.dies_after = hub.refusal = None
    preflight.open_models(load_params(), None)
    assert hub.starts == [0, 3000, 0, 0]


def test_offline_the_command_that_fetches_is_named(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(cache, monkeypatch)
    line = fail(hub)
    assert f"in the cache {cache} it lacks scheduler/scheduler_config.json, tokenizer/" in line
    assert "; the hub was not asked, as HF_HUB_OFFLINE is set; with a network " in line
    assert fetch_command() in line


def test_without_a_network_the_command_that_fetches_is_named(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(NOWHERE, cache, monkeypatch)
    line = fail(hub)
    assert "; the hub cannot be reached (" in line
    assert fetch_command() in line


def test_half_a_download_names_the_file_that_is_missing(
    hub: FakeHub, files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cache(cache, NAME, {name: data for name, data in files.items() if name != UNET})
    preflight.require_all(load_params(), None)  # as the hub has it
    go_offline(cache, monkeypatch)
    assert f"in the cache {cache} it lacks {UNET}; the hub was not asked" in fail(hub)


def test_a_file_that_is_cut_is_named_with_the_command_that_replaces_it(
    hub: FakeHub, files: dict[str, bytes], cache: Path
) -> None:
    write_cache(cache, NAME, files | {UNET: files[UNET][:-100]})
    again = f"`hf download {NAME} --revision {COMMIT} {UNET} --force-download`"
    assert fail(hub).endswith(f"in the cache {cache}: {UNET} cut or damaged; replace it by {again}")


def test_a_folder_that_is_half_a_download_names_what_it_lacks_and_what_is_cut(
    hub: FakeHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    for name, content in files.items():
        path = tmp_path / "carried" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:-1] if name == UNET else content)
    (tmp_path / "carried/vae/config.json").unlink()
    choose_base(model="carried", revision="none")
    words = f"this folder is incomplete: it lacks vae/config.json and {UNET} cut or damaged; get it"
    assert words in fail(hub)


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_mine", 403)])
def test_a_gate_says_whether_a_token_was_sent_and_where_the_licence_is(
    hub: FakeHub, token: str | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.is_gated = True
    sent = send(token, monkeypatch)
    gate = f"{status}: it is gated, and {sent}: accept its licence at {hub.endpoint}/{NAME}, then "
    assert fail(hub).endswith(f"{gate}{LOG_IN}")


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_mine", 404)])
def test_a_wrong_name_says_whether_a_token_was_sent(
    hub: FakeHub, token: str | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_base(model="somebody/typo")
    sent = send(token, monkeypatch)
    none = f"{status}: there is no such repository, or it is private, and {sent}: "
    assert fail(hub).endswith(f"{none}check bases.*.model, or {LOG_IN}")


def test_a_wrong_revision_names_its_key(hub: FakeHub) -> None:
    choose_base(revision="nightly")
    assert fail(hub).endswith("404: it has no revision nightly; check bases.*.revision")


def send(token: str | None, monkeypatch: pytest.MonkeyPatch) -> str:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    return "a token was sent" if token else "no token was sent"
