import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from stages.adapters.lora import add_lora, describe_lora, extract_lora, merge_lora
from stages.base.components import load_unet
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from stages.files.tensors import write_finetuned
from tests.unit.adapters.test_methods import disturb, run_unet
from tests.unit.conftest import build_finetune_params

LORA = build_finetune_params().lora


def test_new_adapters_change_no_bit_of_the_output(base: BaseParams) -> None:
    unet = load_unet(base)
    before = run_unet(unet)
    add_lora(unet, LORA, seed=0)
    assert torch.equal(run_unet(unet), before)
    merged = load_unet(base)
    merge_lora(merged, extract_lora(unet), LORA)
    assert torch.equal(run_unet(merged), before)


def test_the_start_depends_on_the_seed_alone_and_leaves_torchs_own(base: BaseParams) -> None:
    starts = []
    for seed in (0, 0, 1):
        unet = load_unet(base)
        state = torch.get_rng_state()
        add_lora(unet, LORA, seed)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(1)
        starts.append(extract_lora(unet))
    name = next(name for name in starts[0] if "lora_A" in name)
    assert torch.equal(starts[0][name], starts[1][name])
    assert not torch.equal(starts[0][name], starts[2][name])


@pytest.mark.parametrize("target", ["to_x", "attn2", "norm1"])
def test_a_target_that_cannot_be_adapted_is_named(base: BaseParams, target: str) -> None:
    lora = LORA.model_copy(update={"targets": ("to_q", target)})
    with pytest.raises(UserError, match=rf"finetune\.lora\.targets: found {target}; should end"):
        add_lora(load_unet(base), lora, seed=0)


def test_the_metadata_has_one_order(base: BaseParams) -> None:
    unet = load_unet(base)
    add_lora(unet, LORA, seed=0)
    (values,) = (json.loads(text) for text in describe_lora(unet).values())
    assert values["unet.target_modules"] == sorted(LORA.targets)
    assert list(values) == sorted(values)


@pytest.mark.parametrize("use_dora", [False, True])
def test_plain_diffusers_loads_the_file_and_draws_the_same_picture(
    base: BaseParams, tmp_path: Path, use_dora: bool
) -> None:
    lora = LORA.model_copy(update={"use_dora": use_dora})  # alpha differs from the rank
    unet = load_unet(base)
    add_lora(unet, lora, seed=0)
    disturb({name: p for name, p in unet.named_parameters() if "lora_" in name})
    weights = extract_lora(unet)
    write_finetuned(tmp_path, weights, {"method": "lora"}, describe_lora(unet))

    plain, ours = load_pipeline(base), load_pipeline(base)
    before = draw(plain)
    plain.load_lora_weights(tmp_path)
    merge_lora(ours.unet, weights, lora)
    np.testing.assert_allclose(draw(plain), draw(ours), atol=1e-4)  # merged or not: rounding
    assert np.abs(draw(plain) - before).max() > 0.05


def load_pipeline(base: BaseParams) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(base.model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: StableDiffusionPipeline) -> np.ndarray:
    """A picture (H, W, 3) in [0, 1], from fixed noise."""
    generator = torch.Generator().manual_seed(0)
    return pipeline("a cat", num_inference_steps=2, generator=generator, output_type="np").images[0]
