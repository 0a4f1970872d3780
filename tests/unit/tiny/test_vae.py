import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.base.latents import to_pixel_values
from stages.tiny.drawings import Drawings, mix
from stages.tiny.lesson import DEVICE
from stages.tiny.vae import (
    SCALING_FACTOR,
    build_vae,
    draw_mirrored,
    encode_all,
    whiten_latents,
)

WEIGHTS = [0.8, 0.2]


@pytest.fixture(scope="module")
def images():
    """Two sets of noise, of 16 px: the networks do not mind, and it takes a sixteenth."""
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    return [smooth, rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)]


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return build_vae().to(DEVICE).eval()


def draw(images, seed, batch_size=64):
    return draw_mirrored(blend(images), batch_size, torch.Generator().manual_seed(seed))


def blend(images):
    return mix([Drawings(part, [""] * len(part), []) for part in images], WEIGHTS)


def test_built_vae_makes_four_channels_of_a_quarter_of_the_side(vae):
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, 64, 64, device=DEVICE)).latent_dist.mean
        assert latents.shape == (1, 4, 16, 16)
        assert vae.decode(latents).sample.shape == (1, 3, 64, 64)
    assert vae.config.scaling_factor == SCALING_FACTOR


@torch.no_grad()
def test_whitening_leaves_encode_then_decode_unchanged(vae, images):
    pixel_values = draw(images, seed=5)

    def reconstruct(whitened):
        posterior = whitened.encode(pixel_values).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(6))
        latents = [posterior.mean, posterior.mean + posterior.std * noise.to(DEVICE)]
        return torch.cat([whitened.decode(z).sample for z in latents]), posterior.mean

    before, latents_before = reconstruct(vae)
    after, latents_after = reconstruct(whiten_latents(vae, blend(images)))
    assert not torch.allclose(latents_before, latents_after, atol=0.1)
    # Float32 through some thirty layers; a wrong sign or factor is off by more than 1e-2.
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_whitened_channels_have_zero_mean_and_unit_spread_after_scaling(vae, images):
    whitened = whiten_latents(vae, blend(images))
    batch = draw(images, seed=1, batch_size=2048)  # what whitening measured on
    latents = torch.cat([whitened.encode(part).latent_dist.mean for part in batch.split(256)])
    torch.testing.assert_close(latents.mean((0, 2, 3)).cpu(), torch.zeros(4), rtol=0, atol=1e-3)
    spread = latents.std((0, 2, 3)).cpu()
    torch.testing.assert_close(spread, torch.full((4,), 1 / SCALING_FACTOR), rtol=1e-3, atol=0)


def test_cached_latents_are_scaled_means_in_order(vae, images):
    latents = encode_all(vae, images[1])
    assert latents.dtype == torch.float16
    with torch.no_grad():
        means = vae.encode(to_pixel_values(images[1]).to(DEVICE)).latent_dist.mean.cpu()
    expected = means * SCALING_FACTOR
    # float16 has three digits; another order or scale is off by the whole spread.
    torch.testing.assert_close(latents.float(), expected, rtol=2e-3, atol=1e-3)


def test_batch_is_a_pure_function_of_the_generator(images):
    torch.manual_seed(0)
    first = draw(images, seed=3)
    torch.manual_seed(1)  # the global generator has no say
    assert torch.equal(first, draw(images, seed=3))
    assert not torch.equal(first, draw(images, seed=4))


def test_batch_draws_from_the_sets_by_weight_and_mirrors_half():
    left = np.zeros((5, 4, 4, 3), dtype=np.uint8)
    left[:, :, :2] = 100
    batch = draw([left, left + 1], seed=0, batch_size=4000).cpu()
    is_second = batch.flatten(1).min(dim=1).values > -1
    is_mirrored = batch[:, 0, 0, 0] < batch[:, 0, 0, -1]
    # Three standard errors of a share of 4,000.
    assert is_second.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert is_mirrored.float().mean().item() == pytest.approx(0.5, abs=0.025)


def test_cached_latents_can_be_saved(tmp_path):
    latents = encode_all(build_vae(), np.zeros((3, 64, 64, 3), dtype=np.uint8))
    assert latents.shape == (3, 4, 16, 16)
    save_file({"latents": latents}, tmp_path / "latents.safetensors")
