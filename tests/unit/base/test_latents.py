from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from stages.base.latents import (
    decode_latents,
    encode_posterior,
    sample_posterior,
    to_pixel_values,
    to_uint8,
)


class LinearVae:
    """Encodes pixel values as they are, with standard deviation 2."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(scaling_factor=0.18215)

    def encode(self, pixel_values: Tensor) -> SimpleNamespace:
        std = torch.full_like(pixel_values, 2.0)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=pixel_values, std=std))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents)


IMAGES = np.random.default_rng(0).integers(0, 256, (11, 4, 5, 3), dtype=np.uint8)


def test_encode_then_decode_is_the_identity() -> None:
    mean, std = encode_posterior(LinearVae(), to_pixel_values(IMAGES))
    latents = sample_posterior(mean, std, torch.zeros_like(mean), 0.18215)
    assert np.array_equal(to_uint8(decode_latents(LinearVae(), latents)), IMAGES)


def test_scaled_latents_are_scaled_once() -> None:
    mean, std, noise = torch.tensor([3.0]), torch.tensor([2.0]), torch.tensor([-0.5])
    assert sample_posterior(mean, std, noise, 0.1).item() == np.float32((3 - 1) * 0.1)


def test_pixel_values_span_minus_one_to_one_and_have_channels_first() -> None:
    row = np.array([[[[0, 0, 51], [255, 0, 255]]]], dtype=np.uint8)  # (1, 1, 2, 3)
    expected = torch.tensor([[-1.0, 1.0], [-1.0, -1.0], [-0.6, 1.0]]).reshape(1, 3, 1, 2)
    torch.testing.assert_close(to_pixel_values(row), expected)


def test_values_that_are_not_finite_become_black() -> None:
    images = torch.tensor([1.0, float("nan"), float("inf")]).reshape(1, 3, 1, 1)
    assert to_uint8(images).flatten().tolist() == [255, 0, 0]


def test_decoding_keeps_nan_for_the_caller_to_see() -> None:
    latents = torch.full((1, 3, 2, 2), float("nan"))
    assert decode_latents(LinearVae(), latents).isnan().all()
