from pathlib import Path

from stages.base.base_files import describe_base
from tests.unit.conftest import build_base_params


def test_a_whole_base_lacks_nothing(base_folder: Path) -> None:
    assert describe_base(build_base_params(base_folder)).list_missing() == []


def test_rounded_weights_are_other_files(base_folder: Path) -> None:
    half = describe_base(build_base_params(base_folder, weights_variant="fp16"))
    assert half.list_missing() == [
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    ]
