"""The autoencoder: 64 px pictures to (4, 16, 16) latents and back, in diffusers' AutoencoderKL.

After training the latents are whitened per channel, and the change is folded into the 1 x 1
convolutions around them, so that one `scaling_factor` brings every channel to unit deviation.
"""

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from stages.base.latents import encode_posterior, to_pixel_values
from stages.tiny import recipe
from stages.tiny.drawings import Mixture
from stages.tiny.lesson import DEVICE, autocast, train_part

KL_WEIGHT = 1e-5
SCALING_FACTOR = 0.18215
"""v1.5's, so that a forgotten or doubled scaling shows here as it would there."""


def build_vae() -> AutoencoderKL:
    """A new autoencoder of 1.4 M parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=recipe.IMAGE_SIZE_PX,
        scaling_factor=SCALING_FACTOR,
        mid_block_add_attention=False,
    )


def train_vae(mixture: Mixture) -> AutoencoderKL:
    """Train the whole autoencoder."""
    torch.manual_seed(recipe.VAE.seed)
    vae = build_vae().to(DEVICE)

    def compute_loss(generator: torch.Generator) -> Tensor:
        pixel_values = draw_mirrored(mixture, recipe.VAE.train_batch_size, generator)
        with autocast():
            posterior = vae.encode(pixel_values).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            noise = torch.randn(mean.shape, generator=generator).to(DEVICE)
            reconstruction = vae.decode(mean + std * noise).sample.float()
        # Squared error for the PSNR, plus a little absolute error for crisp edges.
        squared, absolute = (f(reconstruction, pixel_values) for f in (F.mse_loss, F.l1_loss))
        return 4 * squared + 0.25 * absolute + KL_WEIGHT * posterior.kl().mean()

    train_part("vae", recipe.VAE, vae, compute_loss)
    return whiten_latents(vae, mixture)


@torch.no_grad()
def whiten_latents(vae: AutoencoderKL, mixture: Mixture) -> AutoencoderKL:
    """Give every latent channel zero mean and a standard deviation of 1 / scaling_factor.

    The functions that encode and decode are unchanged up to rounding: what `quant_conv` now divides
    by, `post_quant_conv` multiplies with.
    """
    batch = draw_mirrored(mixture, 2048, torch.Generator().manual_seed(1))
    means = torch.cat([encode_posterior(vae, part)[0] for part in batch.split(64)]).to(DEVICE)
    centre, scale = means.mean((0, 2, 3)), means.std((0, 2, 3)) * SCALING_FACTOR
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += (post.weight[:, :, 0, 0] * centre).sum(1)
    post.weight *= scale[None, :, None, None]
    num_channels = len(centre)
    quant.bias[:num_channels] = (quant.bias[:num_channels] - centre) / scale
    quant.weight[:num_channels] /= scale[:, None, None, None]
    quant.bias[num_channels:] -= 2 * scale.log()  # the other half holds the log variance
    return vae


def encode_all(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """Scaled latent means (N, 4, 16, 16), float16, of uint8 pictures (N, 64, 64, 3)."""
    means = [
        encode_posterior(vae, to_pixel_values(images[first : first + 128]))[0]
        for first in tqdm(range(0, len(images), 128), desc="latents")
    ]
    return (torch.cat(means) * vae.config.scaling_factor).half()


def draw_mirrored(mixture: Mixture, batch_size: int, generator: torch.Generator) -> Tensor:
    """Pixel values (B, 3, 64, 64) in [-1, 1] on `DEVICE`, half of them mirrored."""
    pixel_values, _ = mixture.draw(batch_size, generator)
    is_mirrored = torch.randn(batch_size, 1, 1, 1, generator=generator) < 0
    return torch.where(is_mirrored, pixel_values.flip(-1), pixel_values).to(DEVICE)
