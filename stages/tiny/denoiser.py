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
from stages.tiny.lesson import DEVICE, autocast, train_part
from stages.training import loss


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


def train_denoiser(
    latents: Tensor, captions: Sequence[str], tokenizer: CLIPTokenizer
) -> nn.ModuleDict:
    """Train `text_encoder` and `unet` on scaled latents (N, 4, 16, 16) and their captions."""
    plan, count = recipe.DENOISER, recipe.DENOISER.train_batch_size
    torch.manual_seed(plan.seed)
    text_encoder, unet = build_text_encoder(tokenizer), build_unet()
    if DEVICE.type == "cpu":
        unet.set_attn_processor(AttnProcessor())  # this, too, is faster than SDPA in bfloat16
    input_ids = tokenize(tokenizer, [*captions, ""])
    noise_scheduler = build_noise_scheduler()

    def compute_loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (count,), generator=generator)
        noise = torch.randn((count, *latents.shape[1:]), generator=generator)
        # Stratified over the batch: less noise in the loss than independent timesteps.
        offsets = torch.rand(count, generator=generator)
        timesteps = ((torch.arange(count) + offsets) / count * 1000).long()
        is_dropped = torch.rand(count, generator=generator) < plan.caption_dropout_rate
        ids = input_ids[torch.where(is_dropped, len(captions), rows)]
        with autocast():
            prompt_embeds = text_encoder(ids.to(DEVICE))[0]
            batch = loss.NoisyBatch(latents[rows].float(), noise, timesteps, prompt_embeds)
            return loss.compute_loss(unet, noise_scheduler, batch.to(DEVICE), plan.snr_gamma)

    denoiser = nn.ModuleDict({"text_encoder": text_encoder, "unet": unet})
    train_part("denoiser", plan, denoiser, compute_loss)
    return denoiser


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids (N, L), padded to the tokenizer's length."""
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    return encoded.input_ids


def save_generator(
    vae: nn.Module, denoiser: nn.ModuleDict, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write the parts as a Stable Diffusion pipeline in float16, without a safety checker."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser["text_encoder"],
        tokenizer=tokenizer,
        unet=denoiser["unet"],
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
