"""Scorer and guide on a hub: of their revision, and open_clip gets all of it from this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import pretrained as tags
from PIL import Image

from stages.base.identity import fingerprint_weights
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.clip_files import CONFIG, WEIGHTS
from stages.sampling.clip_guidance import load_guide
from stages.scoring.scorer import load_scorer
from tests.fake_hub import COMMIT, NOWHERE, FakeHub, point_at, serve_hub
from tests.tiny import build_scorer
from tests.unit.conftest import build_base_params

NAME = "somebody/scorer"
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
OTHERS = {"mean": MEAN, "std": STD, "interpolation": "bilinear", "resize_mode": "squash"}
"""Of a tag, none as open_clip has it for a file whose tag it does not know."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_scorer(tmp_path / "scorer")
    return tmp_path / "scorer"


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    config = folder / "micro.json"
    config.write_text(json.dumps(json.loads((folder / CONFIG).read_text())["model_cfg"]))
    open_clip.add_model_config(config)
    monkeypatch.setitem(tags._PRETRAINED, "micro", {"tag": {"hf_hub": f"{NAME}/", **OTHERS}})
    files = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS[0])}
    with serve_hub(FakeHub(files, NAME)) as hub:
        point_at(hub.endpoint, tmp_path / "hub", monkeypatch)
        yield hub
    config.unlink()
    open_clip.factory._rescan_model_configs()


@pytest.mark.parametrize(("name", "pretrained"), [("micro", "tag"), (f"hf-hub:{NAME}", None)])
def test_a_scorer_on_the_hub_is_open_clips_own_at_its_revision(
    hub: FakeHub, name: str, pretrained: str | None
) -> None:
    ours = load_scorer(name, pretrained, COMMIT)
    assert all("main" not in request for request in hub.requests)
    theirs, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[key], value, rtol=0, atol=0)
    image = Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3))
    assert torch.equal(ours.preprocess(image), preprocess(image))
    words = ["a red cat", "a blue ship"]
    assert torch.equal(ours.tokenizer(words), open_clip.get_tokenizer(name)(words))


@pytest.mark.parametrize(("name", "pretrained"), [("micro", "tag"), (f"hf-hub:{NAME}", None)])
def test_a_scorer_that_is_here_is_loaded_without_a_network(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pretrained: str | None
) -> None:
    load_scorer(name, pretrained, COMMIT)
    point_at(NOWHERE, tmp_path / "hub", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    load_scorer(name, pretrained, COMMIT)


def test_another_revision_of_a_scorer_is_refused_by_name(hub: FakeHub) -> None:
    with pytest.raises(UserError, match=r"it has no revision f+; check bases\.\*\.scorer_revision"):
        load_scorer("micro", "tag", "f" * 40)


def test_a_download_that_fails_is_told_and_open_clip_tries_no_other_file(hub: FakeHub) -> None:
    hub.is_gated = True
    with pytest.raises(
        UserError, match=r"^scorer micro somebody/scorer \(bases\.\*\.scorer\): .*gat"
    ):
        load_scorer("micro", "tag", COMMIT)
    assert not any(".bin" in request for request in hub.requests)


def test_a_guide_on_the_hub_is_that_of_its_revision(hub: FakeHub, base_folder: Path) -> None:
    values = {"guide": "micro", "guide_pretrained": "tag", "guide_revision": COMMIT}
    guide = load_guide(build_base_params(base_folder, **values), 1.0, {"": ""}, torch.device("cpu"))
    assert hub.requests
    assert all("main" not in request for request in hub.requests)
    scorer = load_scorer("micro", "tag", COMMIT)
    assert fingerprint_weights(guide.model) == fingerprint_weights(scorer.model)
    assert guide.preprocess["mean"] == MEAN


def test_another_revision_of_a_guide_is_refused_by_name(hub: FakeHub, base_folder: Path) -> None:
    values = {"guide": "micro", "guide_pretrained": "tag", "guide_revision": "f" * 40}
    base = build_base_params(base_folder, **values)
    with pytest.raises(UserError, match=r"it has no revision f+; check bases\.\*\.guide_revision"):
        load_guide(base, 1.0, {"": ""}, torch.device("cpu"))


@pytest.mark.parametrize("role", ["scorer", "guide"])
def test_the_clips_of_sd15_are_pinned_in_the_repository_that_their_tag_stands_for(
    role: str,
) -> None:
    base = load_params().bases["sd15"].model_dump()
    tag = open_clip.get_pretrained_cfg(base[role], base[f"{role}_pretrained"])
    revision = base[f"{role}_revision"]
    line = next(line for line in Path("params.yaml").read_text().splitlines() if revision in line)
    assert tag["hf_hub"].rstrip("/") in line
    assert len(revision) == 40
