import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from stages.config.mistakes import UserError
from stages.scoring.scorer import load_scorer
from tests.tiny import build_scorer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "scorer"
    build_scorer(folder)
    return folder


def test_preprocessing_is_open_clips_own(folder):
    ramp = np.linspace(0, 255, 50 * 60 * 3).reshape(50, 60, 3).astype(np.uint8)
    image = Image.fromarray(ramp)
    _, _, expected = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    scorer = load_scorer(f"local-dir:{folder}", None)
    assert torch.equal(scorer.preprocess(image), expected(image))


def test_weights_are_loaded_and_frozen(folder):
    first, second = (load_scorer(f"local-dir:{folder}", None).model for _ in range(2))
    assert not first.training
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        assert not one.requires_grad


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        load_scorer(f"local-dir:{tmp_path / 'nowhere'}", None)


def test_pickled_weights_are_not_taken(folder, tmp_path):
    shutil.copy(folder / "open_clip_config.json", tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="safetensors"):
        load_scorer(f"local-dir:{tmp_path}", None)


@pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({"model": 1})])
def test_broken_config_is_named(tmp_path, text):
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(UserError, match="open_clip_config"):
        load_scorer(f"local-dir:{tmp_path}", None)


def test_broken_weights_are_one_clear_error(folder, tmp_path):
    shutil.copy(folder / "open_clip_config.json", tmp_path)
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_scorer(f"local-dir:{tmp_path}", None)


def test_unknown_model_and_weights_are_refused():
    with pytest.raises(UserError, match="ViT-B-33"):
        load_scorer("ViT-B-33", "openai")
    with pytest.raises(UserError, match="ViT-B-32"):
        load_scorer("ViT-B-32", "no-such-weights")


def test_openai_weights_without_quickgelu_are_refused():
    with pytest.raises(UserError, match="use ViT-B-32-quickgelu"):
        load_scorer("ViT-B-32", "openai")
