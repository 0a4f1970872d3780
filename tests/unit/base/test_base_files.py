from pathlib import Path

import torch

from stages.base.base_files import PARAMETERS, STABLE_DIFFUSION_1, describe_base
from tests.stable_diffusion import build_text_encoder, build_unet, build_vae
from tests.unit.conftest import build_base_params


def test_the_sizes_are_those_of_the_architecture() -> None:
    builders = {"unet": build_unet, "vae": build_vae, "text_encoder": build_text_encoder}
    with torch.device("meta"):
        counts = {part: build().num_parameters() for part, build in builders.items()}
    assert {file.split("/")[0]: count for file, count in PARAMETERS.items()} == counts


def test_a_whole_base_lacks_nothing(base_folder: Path) -> None:
    assert describe_base(build_base_params(base_folder)).list_missing() == []


def test_rounded_weights_are_other_files_of_half_the_size() -> None:
    full, half = (
        describe_base(build_base_params(Path(STABLE_DIFFUSION_1), weights_variant=variant))
        for variant in (None, "fp16")
    )
    assert full.sizes["unet/diffusion_pytorch_model.safetensors"] == 3_438_083_856
    assert half.sizes["unet/diffusion_pytorch_model.fp16.safetensors"] == 1_719_041_928
    assert len(half.sizes) == 3
    assert set(half.sizes) <= set(half.list_missing())
