"""Classifier-free guidance (Ho and Salimans 2022), with diffusers' meaning of the scale."""

from torch import Tensor


def apply_guidance(
    noise_pred_uncond: Tensor, noise_pred_text: Tensor, guidance_scale: float
) -> Tensor:
    """Guide noise predictions, all (B, 4, h, w); at 1.0 this is the text's, to rounding."""
    return noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)
