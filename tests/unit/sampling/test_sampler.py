import threading

import pytest
import torch
from diffusers import StableDiffusionPipeline

from stages.base.components import (
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.base.latents import measure_latents
from stages.base.prompts import encode_prompts
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from stages.sampling.denoise import build_scheduler
from stages.sampling.noise import build_generators, draw_initial_latents
from stages.sampling.sampler import (
    Sampler,
    make_ready,
    sample_pictures,
    use_workers,
)
from tests.tiny import IMAGE_SIZE_PX, build_vae
from tests.unit.conftest import build_sample_params

CPU = torch.device("cpu")
PROMPTS = ["a photo of a cat", "a blue coffee mug on a wooden table", "a dog"]
SEEDS = [5, 6, 7]
SHAPE = (4, IMAGE_SIZE_PX // 2, IMAGE_SIZE_PX // 2)


@pytest.mark.parametrize("negative_prompt", [None, "a photo of a dog"])
def test_pictures_are_the_pipelines(base: BaseParams, negative_prompt: str | None) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base.model, use_safetensors=True)
    expected = pipeline(
        PROMPTS,
        latents=draw_initial_latents(build_generators(SEEDS), SHAPE),
        num_inference_steps=4,
        guidance_scale=7.5,
        negative_prompt=negative_prompt and [negative_prompt] * len(PROMPTS),
        output_type="np",
    ).images
    found = sample_pictures(build_sampler(base, negative_prompt), PROMPTS, SEEDS)
    difference = abs(found.images / 255.0 - expected).max()
    assert difference <= 0.5 / 255 + 1e-4  # rounding to 8 bits, and of float32
    assert found.is_finite.all()


def test_nan_weights_are_flagged_and_black(base: BaseParams) -> None:
    sampler = build_sampler(base)
    with torch.no_grad():
        sampler.unet.conv_out.bias.fill_(float("nan"))
    pictures = sample_pictures(sampler, PROMPTS, SEEDS)
    assert pictures.is_finite.tolist() == [False] * 3
    assert (pictures.images == 0).all()


def test_kernels_are_made_by_one_thread_before_workers_share_them(
    base: BaseParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, calls = build_sampler(base), []
    for model in (sampler.unet.conv_out, sampler.vae.decoder):
        model.register_forward_hook(
            lambda _, inputs, __: calls.append((threading.current_thread(), inputs[0].shape))
        )
    set_threads = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", set_threads.append)
    prompts = PROMPTS[:1] * sampler.params.batch_size
    with use_workers(sampler) as workers:
        made_by, shapes = map(list, zip(*calls, strict=True))
        assert set(made_by) == {threading.current_thread()}
        workers.submit(sample_pictures, sampler, prompts, range(len(prompts))).result()
    assert set_threads == [1, 2]  # one a worker, and as before at the end
    assert {shape for _, shape in calls} == set(shapes)


def test_a_resolution_that_the_vae_cannot_halve_is_refused() -> None:
    assert measure_latents(build_vae(), 32) == (4, 16, 16)
    with pytest.raises(UserError, match="multiple of 2"):
        measure_latents(build_vae(), 33)


def build_sampler(base: BaseParams, negative_prompt: str | None = None) -> Sampler:
    texts = ["", negative_prompt or "", *PROMPTS]
    embeds = encode_prompts(*load_text_encoder(base, CPU), texts)
    params = build_sample_params(negative_prompt=negative_prompt)
    return Sampler(
        unet=make_ready(load_unet(base), CPU),
        vae=load_vae(base, CPU),
        noise_scheduler=build_scheduler(load_scheduler_config(base), params.scheduler),
        prompt_embeds=dict(zip(texts, embeds, strict=True)),
        params=params,
        resolution_px=IMAGE_SIZE_PX,
    )
