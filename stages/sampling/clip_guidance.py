"""CLIP guidance (Nichol et al. 2022, "GLIDE", section 2.3): a CLIP model leads to the text.

At each step the noise prediction becomes eps - sqrt(1 - alpha_cumprod) * scale * gradient (Dhariwal
and Nichol 2021, algorithm 2). The gradient is that of the cosine of text and predicted clean
picture, which the VAE decodes, with respect to the noisy latents, the predicted eps held fixed.
GLIDE's CLIP knows noisy pictures and needs no prediction; a usual one would not know what it sees.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, SchedulerMixin
from torch import Tensor
from torch.nn import functional as F

from stages.base.latents import DECODE_BATCH_SIZE, decode_part
from stages.config.params import BaseParams

MIN_ALPHA_CUMPROD = 1e-3
"""Below, the latents are noise alone, and there is no picture to lead. v1.5 starts at 0.0047."""


@dataclass(frozen=True)
class Guide:
    """A frozen CLIP model, float32, in eval mode, and where it leads.

    Attributes:
        model: One of open_clip's classes.
        preprocess: How a picture gets into it: open_clip's `size`, `interpolation`, `mean`, `std`.
        text_embeds: Unit-norm (E,) of what each prompt wants, by what the sampler is asked.
        scale: Of the gradient of the cosine; above 0.
    """

    model: Any
    preprocess: Mapping[str, Any]
    text_embeds: Mapping[str, Tensor]
    scale: float


def load_guide(
    base: BaseParams, scale: float, wanted: Mapping[str, str], device: torch.device
) -> Guide:
    """Load the base's guide, with the text that is wanted for each prompt that is asked."""
    import open_clip  # noqa: PLC0415 - seconds, and only guidance by CLIP needs it

    from stages.files.clip_files import locate_clip  # noqa: PLC0415 - imports it as well

    located = locate_clip(base.guide, base.guide_pretrained, base.guide_revision, "guide")
    model, _, _ = open_clip.create_model_and_transforms(
        located.name, device=device, require_pretrained=True, **located.arguments
    )
    model = model.eval().requires_grad_(False)
    distinct = list(dict.fromkeys(wanted.values()))
    tokens = open_clip.get_tokenizer(located.tokenizer)(distinct).to(device)
    with torch.no_grad():
        embeds = [F.normalize(model.encode_text(part), dim=-1) for part in tokens.split(256)]
    rows = dict(zip(distinct, torch.cat(embeds), strict=True))
    text_embeds = {asked: rows[text] for asked, text in wanted.items()}
    return Guide(model, open_clip.get_model_preprocess_cfg(model), text_embeds, scale)


@dataclass(frozen=True)
class Leader:
    """The guide of a batch.

    Attributes:
        vae: Float32, as the guide.
        text_embeds: Where each picture is led: unit-norm, (B, E).
    """

    guide: Guide
    vae: AutoencoderKL
    text_embeds: Tensor

    @classmethod
    def of(cls, guide: Guide, vae: AutoencoderKL, prompts: Sequence[str]) -> "Leader":
        """The leader of a batch of prompts, (B,)."""
        return cls(guide, vae, torch.stack([guide.text_embeds[prompt] for prompt in prompts]))

    @torch.inference_mode(mode=False)  # its tensors have no gradients; the sampling loop is in it
    def lead(
        self,
        predict: Callable[[Tensor], Tensor],
        noisy_latents: Tensor,
        noise_scheduler: SchedulerMixin,
        timestep: Tensor,
    ) -> Tensor:
        """The model's prediction, led; (B, 4, h, w), without a graph.

        Args:
            predict: From noisy latents to what the scheduler's `prediction_type` says.
            noisy_latents: (B, 4, h, w), as the U-Net takes them: of variance 1.
            noise_scheduler: Knows `prediction_type` and the noise of each timestep.
            timestep: The one of this step.
        """
        noisy = noisy_latents.clone()
        with torch.no_grad():
            model_pred = predict(noisy)
        alpha = read_alpha_cumprod(noise_scheduler, timestep)
        if alpha < MIN_ALPHA_CUMPROD:
            return model_pred
        eps_kept, eps_slope = invert("epsilon", alpha)
        kept, slope = invert(noise_scheduler.config.prediction_type, alpha)
        # Clean latents are (noisy - sqrt(1 - alpha) * eps) / sqrt(alpha), eps held fixed.
        gradient = eps_kept * self.find_direction(kept * noisy + slope * model_pred)
        eps_shift = -((1 - alpha) ** 0.5) * self.guide.scale * gradient
        return model_pred + eps_slope * eps_shift / slope

    @torch.inference_mode()
    def measure(self, images: np.ndarray) -> Tensor:
        """The cosine (B,) of each finished picture, uint8 (B, H, W, 3), and where it was led."""
        pixels = torch.from_numpy(images).to(self.text_embeds.device).permute(0, 3, 1, 2) / 255
        return measure_cosines(self.guide, pixels, self.text_embeds)

    def find_direction(self, clean_latents: Tensor) -> Tensor:
        """The gradient of each picture's cosine with respect to its clean latents (B, 4, h, w)."""
        parts = []
        for latents, text_embeds in zip(
            clean_latents.split(DECODE_BATCH_SIZE),
            self.text_embeds.split(DECODE_BATCH_SIZE),
            strict=True,
        ):
            with torch.enable_grad():
                part = latents.requires_grad_()
                images = decode_part(self.vae, part)
                cosines = measure_cosines(self.guide, images, text_embeds)
                # A sum: what a picture gets does not depend on how many are beside it.
                parts += torch.autograd.grad(cosines.sum(), part)
        return torch.cat(parts)


def measure_cosines(guide: Guide, images: Tensor, text_embeds: Tensor) -> Tensor:
    """Cosine (B,) of square images (B, 3, H, W) in [0, 1] and texts, unit-norm (B, E)."""
    image_embeds = F.normalize(guide.model.encode_image(preprocess(guide, images)), dim=-1)
    return (image_embeds * text_embeds).sum(dim=-1)


def preprocess(guide: Guide, images: Tensor) -> Tensor:
    """Resize images (B, 3, H, H) in [0, 1] and normalise them, as the guide was trained.

    All of the picture is shown once: no random crops, unlike in GLIDE's imitations, so that the
    same noise gives the same picture.
    """
    values = guide.preprocess
    side, size = images.shape[-1], values["size"]
    size = size if isinstance(size, int) else size[-1]
    if side != size:
        # Two products: on a GPU, the gradient of `interpolate` itself is added in a random order.
        rows = torch.eye(side, dtype=images.dtype, device=images.device)[None, None]
        resize = F.interpolate(rows, (size, side), mode=values["interpolation"], antialias=True)
        images = resize @ images @ resize.mT
    mean, std = (images.new_tensor(values[key])[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std


def read_alpha_cumprod(noise_scheduler: SchedulerMixin, timestep: Tensor) -> float:
    """The part of the variance of the noisy latents that is picture, in [0, 1]."""
    if isinstance(noise_scheduler, EulerDiscreteScheduler):  # its timesteps need not be integers
        sigma = noise_scheduler.sigmas[noise_scheduler.step_index].item()
        return 1 / (1 + sigma**2)
    return noise_scheduler.alphas_cumprod[timestep.long()].item()


def invert(prediction_type: str, alpha_cumprod: float) -> tuple[float, float]:
    """(a, b) such that the clean latents are a * noisy_latents + b * model_pred."""
    signal, noise = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5
    return {
        "epsilon": (1 / signal, -noise / signal),
        "v_prediction": (signal, -noise),  # Salimans and Ho 2022
        "sample": (0.0, 1.0),
    }[prediction_type]
