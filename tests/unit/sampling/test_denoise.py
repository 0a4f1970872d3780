import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from stages.base.components import (
    load_scheduler_config,
    load_text_encoder,
    load_unet,
)
from stages.base.prompts import encode_prompts
from stages.config.params import BaseParams
from stages.sampling.denoise import SCHEDULERS, build_scheduler, denoise
from stages.sampling.noise import build_generators, draw_initial_latents
from tests.tiny import IMAGE_SIZE_PX
from tests.unit.conftest import build_sample_params

CPU = torch.device("cpu")
PROMPTS = ["a photo of a cat", "a blue coffee mug on a wooden table", "a dog"]
SEEDS = [5, 6, 7]
SHAPE = (4, IMAGE_SIZE_PX // 2, IMAGE_SIZE_PX // 2)


def denoise_prompts(base: BaseParams, rows: list[int], **changes: object) -> Tensor:
    params = build_sample_params(**changes)
    prompts = ["", *(PROMPTS[row] for row in rows)]
    embeds = encode_prompts(*load_text_encoder(base, CPU), prompts)
    generators = build_generators([SEEDS[row] for row in rows])
    return denoise(
        load_unet(base),
        build_scheduler(load_scheduler_config(base), params.scheduler),
        draw_initial_latents(generators, SHAPE),
        (embeds[:1].expand_as(embeds[1:]), embeds[1:]),
        params,
        generators,
    )


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_latents_are_the_pipelines(base: BaseParams, name: str, guidance_scale: float) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base.model, use_safetensors=True)
    pipeline.scheduler = build_scheduler(load_scheduler_config(base), name)
    generators = build_generators(SEEDS)
    expected = pipeline(
        PROMPTS,
        latents=draw_initial_latents(generators, SHAPE),
        generator=generators,
        num_inference_steps=4,
        guidance_scale=guidance_scale,
        output_type="latent",
    ).images
    found = denoise_prompts(base, [0, 1, 2], scheduler=name, guidance_scale=guidance_scale)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_batch_size_and_order_do_not_change_a_picture(base: BaseParams, name: str) -> None:
    together = denoise_prompts(base, [0, 1, 2], scheduler=name)
    for rows in ([1], [2, 0]):
        alone = denoise_prompts(base, rows, scheduler=name)
        # Libraries pick other kernels for other batch sizes; a random U-Net amplifies rounding.
        torch.testing.assert_close(alone, together[rows], rtol=1e-4, atol=1e-4)
