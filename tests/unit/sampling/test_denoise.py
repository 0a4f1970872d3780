from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

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
from tests.tiny import build_scheduler as build_tiny_scheduler
from tests.unit.conftest import build_sample_params

CPU = torch.device("cpu")
PROMPTS = ["a photo of a cat", "a blue coffee mug on a wooden table", "a dog"]
SEEDS = [5, 6, 7]
GOAL = 0.7
SHAPE = (4, IMAGE_SIZE_PX // 2, IMAGE_SIZE_PX // 2)


class Knowing(nn.Module):
    """Predicts the noise of latents that are all `GOAL` once it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.device, self.dtype = CPU, torch.float32
        self.timesteps: list[float] = []

    def forward(self, latents: Tensor, timestep: Tensor, **_: object) -> SimpleNamespace:
        self.timesteps.append(timestep.item())
        alpha = build_tiny_scheduler().alphas_cumprod[timestep.round().long()]
        return SimpleNamespace(sample=(latents - alpha.sqrt() * GOAL) / (1 - alpha).sqrt())


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("num_steps", [1, 2, 30, 500, 999, 1000])
def test_any_allowed_number_of_steps_ends_where_the_model_points(name: str, num_steps: int) -> None:
    params = build_sample_params(scheduler=name, num_inference_steps=num_steps, guidance_scale=1)
    model, generators = Knowing(), build_generators(SEEDS)
    latents = draw_initial_latents(generators, (4, 2, 2))
    noise_scheduler = build_scheduler(dict(build_tiny_scheduler().config), name)
    embeds = (torch.zeros(3, 2, 2),) * 2
    found = denoise(model, noise_scheduler, latents, embeds, params, generators)
    assert found.isfinite().all()
    # A single step of leading spacing starts, and so ends, where there is hardly any noise.
    assert num_steps == 1 or (found - GOAL).abs().max() < 0.15
    assert len(set(model.timesteps)) == num_steps
    assert all(0 <= timestep <= 999 for timestep in model.timesteps)


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
