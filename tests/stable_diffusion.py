"""The true architecture of Stable Diffusion 1.5's U-Net, without weights."""

import torch
from diffusers import UNet2DConditionModel


def build_unet() -> UNet2DConditionModel:
    """As `unet/config.json` of stable-diffusion-v1-5, on the meta device: shapes, no memory."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
