"""The denoising loss: squared error between the model's prediction and its target."""

from typing import NamedTuple

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional as F

from stages.config.mistakes import UserError


class NoisyBatch(NamedTuple):
    """Inputs of one forward pass.

    Attributes:
        latents: (B, 4, h, w), scaled.
        noise: (B, 4, h, w), unit normal.
        timesteps: (B,) int64 in [0, T).
        prompt_embeds: (B, L, D).
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    prompt_embeds: Tensor

    def split(self, batch_size: int) -> list["NoisyBatch"]:
        """Batches of at most `batch_size`, in order."""
        parts = zip(*(tensor.split(batch_size) for tensor in self), strict=True)
        return [NoisyBatch(*part) for part in parts]

    def to(self, device: torch.device) -> "NoisyBatch":
        """The batch on a device."""
        return NoisyBatch(*(tensor.to(device) for tensor in self))


def compute_loss(
    unet: UNet2DConditionModel,
    noise_scheduler: DDPMScheduler,
    batch: NoisyBatch,
    snr_gamma: float | None = None,
) -> Tensor:
    """Mean squared error of a batch, a float32 scalar (Ho et al. 2020, equation 14).

    With `snr_gamma` each picture's error is weighted by its timestep, see `weigh_timesteps`.
    """
    dtype = next(unet.parameters()).dtype  # `unet.dtype` walks all modules: a millisecond a call
    noisy_latents = noise_scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    model_pred = unet(
        noisy_latents.to(dtype),
        batch.timesteps,
        encoder_hidden_states=batch.prompt_embeds.to(dtype),
    ).sample
    target = compute_target(noise_scheduler, batch)
    if snr_gamma is None:
        return F.mse_loss(model_pred.float(), target)
    errors = F.mse_loss(model_pred.float(), target, reduction="none").mean(dim=(1, 2, 3))  # (B,)
    return (errors * weigh_timesteps(noise_scheduler, batch.timesteps, snr_gamma)).mean()


def weigh_timesteps(noise_scheduler: DDPMScheduler, timesteps: Tensor, snr_gamma: float) -> Tensor:
    """Min-SNR weights (B,), above 0 (Hang et al. 2023, section 3.4).

    In terms of the clean picture the weight is min(SNR, gamma); the error of the noise is SNR times
    as small as the picture's, that of v SNR + 1 times.
    """
    snr = compute_snr(noise_scheduler, timesteps)
    prediction_type = noise_scheduler.config.prediction_type
    scales = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
    return snr.clamp(max=snr_gamma) / scales[prediction_type]


def compute_target(noise_scheduler: DDPMScheduler, batch: NoisyBatch) -> Tensor:
    """What the model should predict, (B, 4, h, w), by the base's `prediction_type`.

    Raises:
        UserError: A type that diffusers has, but no Stable Diffusion base.
    """
    prediction_type = noise_scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return batch.noise
    if prediction_type == "v_prediction":
        return noise_scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps)
    if prediction_type == "sample":
        return batch.latents
    raise UserError(f"the base's scheduler has prediction_type {prediction_type}; can't train it")
