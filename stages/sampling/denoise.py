"""The sampling loop: unit-normal latents to clean ones, with diffusers' schedulers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    UNet2DConditionModel,
)
from torch import Tensor

from stages.config.params import DenoiseParams
from stages.sampling.clip_guidance import Leader
from stages.sampling.guidance import apply_guidance

SCHEDULERS = {
    "ddim": DDIMScheduler,  # Song et al. 2020, eta 0
    "ddpm": DDPMScheduler,  # Ho et al. 2020
    "dpm_solver_pp": DPMSolverMultistepScheduler,  # Lu et al. 2022, second order
    "euler": EulerDiscreteScheduler,  # Karras et al. 2022, algorithm 2 without churn
}


def build_scheduler(config: dict[str, Any], name: str) -> SchedulerMixin:
    """The scheduler `name` over the base's own noise schedule."""
    return SCHEDULERS[name].from_config(config)


@torch.inference_mode()
def denoise(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    latents: Tensor,
    embeds: tuple[Tensor, Tensor],
    params: DenoiseParams,
    generators: Sequence[torch.Generator],
    leader: Leader | None = None,
) -> Tensor:
    """Denoise latents under classifier-free guidance, and CLIP's if there is a leader.

    Args:
        unet: On the device to compute on, in the precision to compute in.
        noise_scheduler: Its timesteps are set here.
        latents: (B, 4, h, w), unit normal.
        embeds: `negative_prompt_embeds` and `prompt_embeds`, (B, L, D) each.
        params: Guidance scale and number of steps.
        generators: One a picture, for schedulers that draw noise at each step.
        leader: Changes each prediction.

    Returns:
        Scaled latents (B, 4, h, w), float32 whatever the precision of the U-Net.
    """
    dtype = next(unet.parameters()).dtype  # `unet.dtype` walks all modules: a millisecond a call
    is_guided = params.guidance_scale > 1
    context = torch.cat(embeds) if is_guided else embeds[1]
    context = context.to(unet.device, dtype)

    def predict(noisy_latents: Tensor, timestep: Tensor) -> Tensor:
        model_input = torch.cat([noisy_latents] * 2) if is_guided else noisy_latents
        model_pred = unet(
            model_input.to(dtype), timestep, encoder_hidden_states=context
        ).sample.float()
        if not is_guided:
            return model_pred
        unguided, guided = model_pred.chunk(2)
        return apply_guidance(unguided, guided, params.guidance_scale)

    set_timesteps(noise_scheduler, params.num_inference_steps)
    latents = latents.to(unet.device) * noise_scheduler.init_noise_sigma
    # The scheduler's tables are on the CPU: with a GPU's timestep, each look waits for the GPU.
    for timestep, on_device in zip(
        noise_scheduler.timesteps, noise_scheduler.timesteps.to(unet.device), strict=True
    ):
        noisy = noise_scheduler.scale_model_input(latents, timestep)
        ask = partial(predict, timestep=on_device)
        if leader is None:
            model_pred = ask(noisy)
        else:
            model_pred = leader.lead(ask, noisy, noise_scheduler, timestep)
        latents = noise_scheduler.step(
            model_pred, timestep, latents, generator=list(generators)
        ).prev_sample
    return latents


def set_timesteps(noise_scheduler: SchedulerMixin, num_inference_steps: int) -> None:
    """Choose the timesteps, distinct ones in [0, T).

    Where all T are taken, the offset of Stable Diffusion's schedule would lead to one that is not.
    """
    if num_inference_steps == noise_scheduler.config.num_train_timesteps:
        noise_scheduler.register_to_config(timestep_spacing="trailing")
    noise_scheduler.set_timesteps(num_inference_steps)
