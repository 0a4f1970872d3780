"""Images to latents and back: the only user of the VAE's `scaling_factor`."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from stages.config.mistakes import UserError

DECODE_BATCH_SIZE = 8
"""Pictures the decoder takes at once; at 256 px more would need gigabytes for its widest layer."""


def to_pixel_values(images: np.ndarray) -> Tensor:
    """Uint8 images (N, H, W, 3) as pixel values (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def encode_posterior(vae: AutoencoderKL, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the VAE's posterior, unscaled.

    Args:
        vae: Frozen, in eval mode.
        pixel_values: (B, 3, H, W) in [-1, 1].

    Returns:
        Mean and standard deviation, (B, 4, h, w) each, on the CPU.
    """
    posterior = vae.encode(pixel_values.to(vae.device, vae.dtype)).latent_dist
    return posterior.mean.float().cpu(), posterior.std.float().cpu()


def sample_posterior(mean: Tensor, std: Tensor, noise: Tensor, scaling_factor: float) -> Tensor:
    """Scaled latents (B, 4, h, w) from unscaled posteriors and unit-normal noise."""
    return (mean + std * noise) * scaling_factor


@torch.inference_mode()
def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode scaled latents to images.

    Args:
        vae: Frozen autoencoder, in eval mode.
        latents: (B, 4, h, w), scaled by `vae.config.scaling_factor`.

    Returns:
        Images (B, 3, H, W), clamped to [0, 1]; values that are not finite stay so.
    """
    return torch.cat([decode_part(vae, part) for part in latents.split(DECODE_BATCH_SIZE)])


def decode_part(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """As `decode_latents`, of few pictures, in the VAE's precision and with a gradient if asked."""
    unscaled = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor
    return (vae.decode(unscaled).sample / 2 + 0.5).clamp(0, 1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Images (B, 3, H, W) in [0, 1] as uint8 (B, H, W, 3); what is not finite becomes black."""
    finite = images.nan_to_num(0, posinf=0, neginf=0)
    return (finite.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()


def measure_latents(vae: AutoencoderKL, resolution_px: int) -> tuple[int, int, int]:
    """Channels, height and width of the latents of square pictures.

    Raises:
        UserError: The VAE can't halve the pictures as often as it would.
    """
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    if resolution_px % factor:
        raise UserError(
            f"resolution_px is {resolution_px}; the base's VAE needs a multiple of {factor}"
        )
    side = resolution_px // factor
    return vae.config.latent_channels, side, side
