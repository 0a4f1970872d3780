from pathlib import Path

import pytest
import torch

from stages.base.components import (
    load_noise_scheduler,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from tests.tiny import build_base
from tests.unit.conftest import build_base_params

CPU = torch.device("cpu")


def test_all_is_frozen_float32_and_in_eval_mode(base: BaseParams) -> None:
    for model in (load_unet(base), load_vae(base, CPU), load_text_encoder(base, CPU)[1]):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model.dtype == torch.float32
        assert not model.training


def test_training_keeps_the_schedule_of_the_base(base: BaseParams) -> None:
    config = load_noise_scheduler(base).config
    assert (config.beta_start, config.beta_schedule) == (0.00085, "scaled_linear")
    assert config.prediction_type == "epsilon"


def test_a_missing_folder_is_named_without_asking_the_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="micro does not exist"):
        load_unet(build_base_params(tmp_path / "micro"))


def test_missing_weights_are_not_replaced_by_random_ones(tmp_path: Path) -> None:
    build_base(tmp_path)
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="its unet can't be loaded"):
        load_unet(build_base_params(tmp_path))


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    build_base(tmp_path)
    weights = tmp_path / "vae/diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UserError, match="its vae can't be loaded"):
        load_vae(build_base_params(tmp_path), CPU)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    build_base(tmp_path)
    weights = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError) as caught:
        load_unet(build_base_params(tmp_path))
    assert "is incomplete or damaged" in str(caught.value)
    assert "\n" not in str(caught.value)
