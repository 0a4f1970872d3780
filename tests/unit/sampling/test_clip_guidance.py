import dataclasses
import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from stages.base.components import DTYPES, load_scheduler_config, load_unet, load_vae
from stages.base.latents import decode_part
from stages.config.params import BaseParams
from stages.files.pictures import find_samples_schema, read_rows
from stages.sampling import batches, clip_guidance
from stages.sampling.batches import plan_pictures, sample_table
from stages.sampling.clip_guidance import (
    Guide,
    Leader,
    invert,
    load_guide,
    measure_cosines,
    preprocess,
    read_alpha_cumprod,
)
from stages.sampling.denoise import SCHEDULERS, build_scheduler, denoise, set_timesteps
from stages.sampling.noise import build_generators, draw_initial_latents
from stages.sampling.sampler import Sampled, Sampler, build_sampler, sample_pictures
from stages.scoring.scorer import load_scorer
from tests.tiny import IMAGE_SIZE_PX, MAX_TOKENS, TEXT_WIDTH, build_scorer, build_vae
from tests.tiny import build_scheduler as build_tiny_scheduler
from tests.tiny import build_unet as build_tiny_unet
from tests.unit.conftest import build_base_params, build_sample_params

CPU = torch.device("cpu")
PROMPTS = ["a photo of a cat", "a blue coffee mug on a wooden table", "a dog"]
SEEDS = [5, 6, 7]
SHAPE = (4, IMAGE_SIZE_PX // 2, IMAGE_SIZE_PX // 2)
SCALE = 3.0


@pytest.fixture(scope="session")
def guided_base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseParams:
    folder = tmp_path_factory.mktemp("guide")
    build_scorer(folder, seed=1)
    return build_base_params(base_folder, guide=f"local-dir:{folder}")


def build_guide(base: BaseParams, scale: float = SCALE) -> Guide:
    return load_guide(base, scale, {prompt: prompt for prompt in ["", *PROMPTS]}, CPU)


def build_led_sampler(base: BaseParams, scale: float = SCALE, **changes: object) -> Sampler:
    generator = torch.Generator().manual_seed(1)
    embeds = {p: torch.randn(MAX_TOKENS, TEXT_WIDTH, generator=generator) for p in ["", *PROMPTS]}
    guide = build_guide(base, scale) if scale else None
    return build_sampler(base, build_sample_params(**changes), load_unet(base), embeds, None, guide)


class Smooth(nn.Module):
    """Embeds pictures of 12 px, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 12 * 12, 5).double()

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        return self.linear(pixel_values.flatten(1)).tanh()


def build_smooth() -> tuple[UNet2DConditionModel, Leader]:
    """A U-Net and a leader of two pictures in float64, whose guide sees pictures resized."""
    torch.manual_seed(2)
    values = {"size": 12, "interpolation": "bicubic", "mean": (0.4,) * 3, "std": (0.3,) * 3}
    texts = nn.functional.normalize(torch.randn(2, 5).double(), dim=-1)
    guide = Guide(Smooth().requires_grad_(False), values, {}, scale=40.0)
    vae = build_vae().double().requires_grad_(False).eval()
    return build_tiny_unet().double().requires_grad_(False).eval(), Leader(guide, vae, texts)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_prediction_moves_along_the_gradient_that_finite_differences_find(
    prediction_type: str,
) -> None:
    unet, leader = build_smooth()
    noise_scheduler = DDIMScheduler.from_config(
        build_tiny_scheduler().config, prediction_type=prediction_type
    )
    timestep, context = torch.tensor(300), torch.randn(2, 6, TEXT_WIDTH).double()
    alpha = noise_scheduler.alphas_cumprod[300].double()

    def predict(noisy: Tensor) -> Tensor:
        return unet(noisy, timestep, encoder_hidden_states=context).sample

    def clean(noisy: Tensor, pred: Tensor) -> Tensor:  # by the definitions, not by `invert`
        noise = (1 - alpha).sqrt()
        if prediction_type == "epsilon":
            return (noisy - noise * pred) / alpha.sqrt()
        return alpha.sqrt() * noisy - noise * pred if prediction_type == "v_prediction" else pred

    noisy = torch.randn(2, *SHAPE).double()
    pred = predict(noisy)
    eps = (noisy - alpha.sqrt() * clean(noisy, pred)) / (1 - alpha).sqrt()  # held fixed

    def cosines(noisy: Tensor) -> Tensor:
        images = decode_part(leader.vae, (noisy - (1 - alpha).sqrt() * eps) / alpha.sqrt())
        return measure_cosines(leader.guide, images, leader.text_embeds)

    led = leader.lead(predict, noisy, noise_scheduler, timestep)
    # What the schedulers make of it: eps = (noisy - sqrt(alpha) * clean) / sqrt(1 - alpha).
    shift = -alpha.sqrt() / (1 - alpha).sqrt() * (clean(noisy, led) - clean(noisy, pred))
    gradient = -shift / (1 - alpha).sqrt() / leader.guide.scale
    for _ in range(3):
        direction = torch.randn_like(noisy)
        step = 1e-5 * direction
        expected = (cosines(noisy + step) - cosines(noisy - step)) / 2e-5
        found = (gradient * direction).sum((1, 2, 3))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    assert gradient.abs().max() > 1e-5
    assert all(weight.grad is None for weight in [*unet.parameters(), *leader.vae.parameters()])


def test_where_the_latents_are_noise_alone_nothing_is_led() -> None:
    _, leader = build_smooth()
    noise_scheduler = DDIMScheduler.from_config(
        build_tiny_scheduler().config,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,  # Lin et al. 2023: the last timestep has no picture in it
    )
    noisy, pred = torch.randn(2, 2, *SHAPE).double()
    last = torch.tensor(len(noise_scheduler.alphas_cumprod) - 1)
    assert torch.equal(leader.lead(lambda _: pred, noisy, noise_scheduler, last), pred)
    middle = leader.lead(lambda _: pred, noisy, noise_scheduler, last // 2)
    assert not torch.equal(middle, pred)
    assert middle.isfinite().all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_scheduler_tells_how_much_of_the_latents_is_picture(name: str) -> None:
    noise_scheduler = build_scheduler(dict(build_tiny_scheduler().config), name)
    set_timesteps(noise_scheduler, 10)
    clean, noise = torch.ones(1, 4, 2, 2), torch.full((1, 4, 2, 2), 2.0)
    for timestep in noise_scheduler.timesteps:
        noisy = noise_scheduler.add_noise(clean, noise, timestep[None])
        noisy = noise_scheduler.scale_model_input(noisy, timestep)
        alpha = read_alpha_cumprod(noise_scheduler, timestep)
        kept, slope = invert("epsilon", alpha)
        torch.testing.assert_close(kept * noisy + slope * noise, clean, rtol=1e-3, atol=1e-3)
        noise_scheduler.step(noise, timestep, noisy, generator=build_generators([0]))


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_guides_cosine_rises_for_every_picture(
    guided_base: BaseParams, name: str, guidance_scale: float
) -> None:
    how = {"scheduler": name, "guidance_scale": guidance_scale}
    before = sample_pictures(build_led_sampler(guided_base, 1e-9, **how), PROMPTS, SEEDS)
    after = sample_pictures(build_led_sampler(guided_base, **how), PROMPTS, SEEDS)
    assert after.is_finite.all()
    assert (after.guide_cosine > before.guide_cosine).all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_without_a_guide_a_picture_is_that_of_the_plain_loop_bit_for_bit(
    guided_base: BaseParams, name: str
) -> None:
    sampler = build_led_sampler(guided_base, 0, scheduler=name)
    noise_scheduler = build_scheduler(load_scheduler_config(guided_base), name)
    generators = build_generators(SEEDS)
    text = torch.stack([sampler.prompt_embeds[prompt] for prompt in PROMPTS])
    embeds = (sampler.prompt_embeds[""].expand_as(text), text)
    first = draw_initial_latents(generators, SHAPE)
    found = denoise(
        sampler.unet, sampler.noise_scheduler, first, embeds, sampler.params, generators
    )
    generators = build_generators(SEEDS)
    with torch.inference_mode():
        latents, context = draw_initial_latents(generators, SHAPE), torch.cat(embeds)
        set_timesteps(noise_scheduler, sampler.params.num_inference_steps)
        latents = latents * noise_scheduler.init_noise_sigma
        for timestep in noise_scheduler.timesteps:
            both = noise_scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
            uncond, text = sampler.unet(both, timestep, context).sample.chunk(2)
            pred = uncond + 7.5 * (text - uncond)
            latents = noise_scheduler.step(
                pred, timestep, latents, generator=generators
            ).prev_sample
    assert torch.equal(found, latents)
    assert sample_pictures(sampler, PROMPTS, SEEDS).guide_cosine is None


def test_a_pictures_lead_does_not_depend_on_how_many_are_beside_it(
    guided_base: BaseParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = build_led_sampler(guided_base)
    together = sample_pictures(sampler, PROMPTS, SEEDS)
    alone = sample_pictures(sampler, PROMPTS[:1], SEEDS[:1])
    difference = np.abs(alone.images.astype(int) - together.images[:1])
    assert difference.max() <= 1  # of 255: libraries pick other kernels for other batch sizes
    assert abs(alone.guide_cosine - together.guide_cosine[:1]).max() < 1e-3
    monkeypatch.setattr(clip_guidance, "DECODE_BATCH_SIZE", 2)  # in two parts
    in_parts = sample_pictures(sampler, PROMPTS, SEEDS)
    assert np.abs(in_parts.images.astype(int) - together.images).max() <= 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_leads_as_float32_does_and_stays_finite(
    guided_base: BaseParams, precision: str
) -> None:
    guide = build_guide(guided_base)
    leader = Leader.of(guide, load_vae(guided_base, CPU), PROMPTS)
    noise_scheduler, found = build_tiny_scheduler(), []
    noisy, timestep = torch.randn(3, *SHAPE), torch.tensor(600)
    context = torch.randn(3, MAX_TOKENS, TEXT_WIDTH)
    for dtype in (torch.float32, DTYPES[precision]):
        unet = load_unet(guided_base).to(dtype)

        def predict(x: Tensor, unet: nn.Module = unet, dtype: torch.dtype = dtype) -> Tensor:
            return unet(x.to(dtype), timestep, context.to(dtype)).sample.float()

        led = leader.lead(predict, noisy, noise_scheduler, timestep)
        found.append(led - predict(noisy).detach())
    full, half = (shift.flatten(1) for shift in found)
    assert half.isfinite().all()
    assert (nn.functional.cosine_similarity(full, half) > 0.98).all()
    # Gradients that fp16 would take for 0, as a large model's may be, are led by all the same.
    small = dataclasses.replace(leader, text_embeds=leader.text_embeds * 1e-7)
    lost = dataclasses.replace(guide, scale=SCALE * 1e7)
    small = dataclasses.replace(small, guide=lost)
    shift = (small.lead(predict, noisy, noise_scheduler, timestep) - predict(noisy)).flatten(1)
    assert (nn.functional.cosine_similarity(full, shift) > 0.98).all()


def test_no_step_leaves_anything_in_memory(guided_base: BaseParams) -> None:
    sampler = build_led_sampler(guided_base, num_inference_steps=5)
    counts: list[int] = []

    def count(*_: object) -> None:
        gc.collect()
        counts.append(sum(torch.is_tensor(thing) for thing in gc.get_objects()))

    sampler.unet.register_forward_pre_hook(count)
    sample_pictures(sampler, PROMPTS, SEEDS)
    assert len(counts) == 5
    assert len(set(counts[2:])) == 1


def test_a_killed_run_goes_on_to_the_same_bytes(
    guided_base: BaseParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = build_led_sampler(guided_base, batch_size=2)
    prompts = pd.DataFrame(
        {"prompt_id": ["a", "b"], "set": "in_domain", "class": "cat", "prompt": PROMPTS[:2]}
    )
    rows = plan_pictures(prompts, {"in_domain": 2}, sampler.params, "micro")
    for name in ("once", "killed"):
        (tmp_path / name).mkdir()
    asked = rows["prompt"].tolist()
    whole = sample_table(sampler, rows, asked, tmp_path / "once")
    real, calls = batches.sample_pictures, []

    def die(*args: object) -> Sampled:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(batches, "sample_pictures", die)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        sample_table(sampler, rows, asked, tmp_path / "killed")
    assert list((tmp_path / "killed").glob("batch_*"))
    again = sample_table(sampler, rows, asked, tmp_path / "killed")
    assert again.read_bytes() == whole.read_bytes()
    cosines = read_rows(again, find_samples_schema(again), "sample")["guide_cosine"]
    assert cosines.between(-1, 1).all()
    assert cosines.nunique() == len(cosines)


@pytest.mark.parametrize("side", [IMAGE_SIZE_PX, 50])
def test_the_guide_sees_what_open_clip_would_show_it(guided_base: BaseParams, side: int) -> None:
    guide = build_guide(guided_base)
    picture = np.random.default_rng(0).integers(60, 200, (side, side, 3), dtype=np.uint8)
    expected = load_scorer(guided_base.guide, None).preprocess(Image.fromarray(picture))
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    found = preprocess(guide, pixels)[0]
    # Pillow rounds to 8 bits between its two passes; a deviation is 0.26 to 0.28.
    torch.testing.assert_close(found, expected, rtol=0, atol=2.5 / 255 / 0.26)
