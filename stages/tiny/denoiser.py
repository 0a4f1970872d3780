"""The U-Net and its text encoder, trained together on cached latents of the illustrations.

Noise prediction with v1.5's scheduler; the caption is dropped from every tenth pair, for guidance.
The two are trained as one because the captions' few hundred words are learned best from the
pictures that they must bring about.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stages.tiny import recipe
from stages.tiny.training import DEVICE, autocast, train

CAPTION_DROPOUT = 0.1
SNR_GAMMA = 5.0


class Denoiser(nn.Module):
    """Text encoder and U-Net, from token ids to a noise prediction."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(tokenizer)
        self.unet = build_unet()

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, input_ids: Tensor) -> Tensor:
        """Noise prediction (B, 4, 16, 16) for token ids (B, L)."""
        prompt_embeds = self.text_encoder(input_ids)[0]
        return self.unet(noisy_latents, timesteps, prompt_embeds).sample


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A new text encoder of 0.7 M parameters, in the architecture of v1.5's."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=recipe.MAX_TOKENS,
        projection_dim=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",  # faster than SDPA in bfloat16 on a CPU
    )
    return CLIPTextModel(config)


def build_unet() -> UNet2DConditionModel:
    """A new U-Net of 5.6 M parameters; `attn2` in every block but the outermost two."""
    return UNet2DConditionModel(
        sample_size=recipe.IMAGE_SIZE_PX // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 96, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,  # diffusers' name for the number of heads, as in v1.5
        norm_num_groups=16,
    )


def build_noise_scheduler() -> DDIMScheduler:
    """Stable Diffusion 1.5's schedule: scaled-linear betas, noise prediction."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def train_denoiser(latents: Tensor, captions: Sequence[str], tokenizer: CLIPTokenizer) -> Denoiser:
    """Train on scaled latents (N, 4, 16, 16) and their captions."""
    plan = recipe.DENOISER
    torch.manual_seed(plan.seed)
    denoiser = Denoiser(tokenizer).to(DEVICE)
    if DEVICE.type == "cpu":
        denoiser.unet.set_attn_processor(AttnProcessor())  # likewise faster than SDPA in bfloat16
    input_ids = tokenize(tokenizer, [*captions, ""])
    alphas_cumprod = build_noise_scheduler().alphas_cumprod
    snr = alphas_cumprod / (1 - alphas_cumprod)
    # Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556, section 3.4, for noise prediction).
    loss_weights = snr.clamp(max=SNR_GAMMA) / snr

    def compute_loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (plan.batch_size,), generator=generator)
        noise = torch.randn((plan.batch_size, *latents.shape[1:]), generator=generator)
        # Stratified over the batch: less noise in the loss than independent timesteps.
        offsets = torch.rand(plan.batch_size, generator=generator)
        timesteps = ((torch.arange(plan.batch_size) + offsets) / plan.batch_size * 1000).long()
        is_dropped = torch.rand(plan.batch_size, generator=generator) < CAPTION_DROPOUT
        ids = input_ids[torch.where(is_dropped, len(captions), rows)]
        alpha = alphas_cumprod[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents[rows].float() + (1 - alpha).sqrt() * noise
        with autocast():
            model_pred = denoiser(noisy.to(DEVICE), timesteps.to(DEVICE), ids.to(DEVICE))
        error = (model_pred.float() - noise.to(DEVICE)).square().mean((1, 2, 3))
        return (loss_weights[timesteps].to(DEVICE) * error).mean()

    train(plan, denoiser, compute_loss)
    return denoiser


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids (N, L), padded to the tokenizer's length."""
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    return encoded.input_ids


def save_generator(
    vae: nn.Module, denoiser: Denoiser, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write the parts as a Stable Diffusion pipeline in float16, without a safety checker."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=build_noise_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    # transformers 5 loads in the dtype that this file names, diffusers in float32: a plain
    # `from_pretrained` would mix the two.
    config = folder / "text_encoder/config.json"
    config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))
