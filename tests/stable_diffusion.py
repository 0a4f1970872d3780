"""The architecture of Stable Diffusion 1.5 with random weights: what it costs needs no download.

From the configs that its repository holds: stable-diffusion-v1-5/stable-diffusion-v1-5.
"""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


def build_unet() -> UNet2DConditionModel:
    """The denoiser: 859,520,964 parameters."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )


def build_vae() -> AutoencoderKL:
    """The autoencoder: 83,653,863 parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=0.18215,
    )


def build_text_encoder() -> CLIPTextModel:
    """CLIP ViT-L/14's text half: 123,060,480 parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            projection_dim=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
        )
    )
