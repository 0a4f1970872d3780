"""The batches of training and validation, from cached pairs.

Everything random in a step comes from a generator seeded by (finetune.seed, step), and the order
of the pairs from one seeded by (finetune.seed, epoch): a run that goes on at any step sees what it
would have seen.
"""

import hashlib
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from stages.base.latents import sample_posterior
from stages.config.mistakes import UserError
from stages.config.params import FinetuneParams
from stages.training.loss import NoisyBatch
from stages.training.parallel import take_part

VALIDATION_BATCH_SIZE = 32


class EncodedPairs(NamedTuple):
    """Cached pairs: all that training needs of pictures and captions.

    Attributes:
        mean: (N, 4, h, w), unscaled, of the VAE's posterior.
        std: (N, 4, h, w), unscaled.
        scaling_factor: The VAE's.
        prompt_embeds: (K, L, D), of "" first, then one a distinct caption.
        caption_index: (N,) int64, rows of `prompt_embeds`.
    """

    mean: Tensor
    std: Tensor
    scaling_factor: float
    prompt_embeds: Tensor
    caption_index: Tensor

    def select(self, rows: Tensor | slice) -> "EncodedPairs":
        """The pairs of some rows: a bool mask, int64 indices, or a slice, which copies nothing."""
        return self._replace(
            mean=self.mean[rows], std=self.std[rows], caption_index=self.caption_index[rows]
        )


def check_pairs(unet: UNet2DConditionModel, pairs: EncodedPairs) -> None:
    """Refuse pairs that were encoded for another base.

    Raises:
        UserError: Channels of the latents or width of the embeddings are not the U-Net's.
    """
    found = (pairs.mean.shape[1], pairs.prompt_embeds.shape[2])
    expected = (unet.config.in_channels, unet.config.cross_attention_dim)
    if found != expected:
        raise UserError(
            f"latent channels and text width of the encoded pairs are {found}, the U-Net expects "
            f"{expected}; run `dvc repro encode`"
        )


def draw_batches(
    pairs: EncodedPairs, params: FinetuneParams, num_timesteps: int, step: int
) -> list[NoisyBatch]:
    """The batches that a step accumulates, this process's part of each.

    Together they are the same pairs and noise however split.
    """
    count = params.train_batch_size * params.gradient_accumulation_steps
    rows = draw_rows(params.seed, (step - 1) * count, count, len(pairs.mean))
    generator = seed_generator(params.seed, "step", step)
    timesteps = torch.randint(num_timesteps, (count,), generator=generator)
    chosen = drop_captions(pairs.select(rows), params, step)
    batch = _add_noise(chosen, timesteps, generator)
    batches = offset_noise(batch, params, step).split(params.train_batch_size)
    # Each takes its own embeddings: where captions are learned, no two share a graph.
    parts = chosen.caption_index.split(params.train_batch_size)
    return [
        take_part(part._replace(prompt_embeds=pairs.prompt_embeds[index]))
        for part, index in zip(batches, parts, strict=True)
    ]


def drop_captions(pairs: EncodedPairs, params: FinetuneParams, step: int) -> EncodedPairs:
    """Leave out some captions, so that the unconditional prediction is trained as well.

    Ho and Salimans 2022, algorithm 1; `caption_dropout_rate` is their p_uncond.
    """
    generator = seed_generator(params.seed, "caption_dropout", step)
    is_kept = torch.rand(len(pairs.mean), generator=generator) >= params.caption_dropout_rate
    return pairs._replace(caption_index=pairs.caption_index * is_kept)  # row 0 is of ""


def offset_noise(batch: NoisyBatch, params: FinetuneParams, step: int) -> NoisyBatch:
    """Move each channel's noise by a unit-normal number times `noise_offset`.

    Guttenberg 2023, "Diffusion with Offset Noise": else the mean of a picture is hardly noised, and
    its brightness never has to be learned.
    """
    generator = seed_generator(params.seed, "noise_offset", step)
    offset = torch.randn(*batch.noise.shape[:2], 1, 1, generator=generator)  # (B, 4, 1, 1)
    return batch._replace(noise=batch.noise + params.noise_offset * offset)


def draw_rows(seed: int, first: int, count: int, num_pairs: int) -> Tensor:
    """Rows (count,) from place `first` on in an endless row of shuffled epochs."""
    epochs = range(first // num_pairs, (first + count - 1) // num_pairs + 1)
    orders = [
        torch.randperm(num_pairs, generator=seed_generator(seed, "epoch", epoch))
        for epoch in epochs
    ]
    start = first - epochs[0] * num_pairs
    return torch.cat(orders)[start : start + count]


def draw_validation_batches(pairs: EncodedPairs, num_timesteps: int) -> list[NoisyBatch]:
    """All pairs at fixed noise and timesteps, the same for every run of every seed.

    The timesteps are stratified: spread evenly over all of them, so that few pairs do.
    """
    count = len(pairs.mean)
    generator = seed_generator(0, "validation", 0)
    strata = (torch.arange(count, dtype=torch.float64) + 0.5) / count * num_timesteps
    timesteps = strata.long()[torch.randperm(count, generator=generator)]
    return _add_noise(pairs, timesteps, generator).split(VALIDATION_BATCH_SIZE)


def _add_noise(pairs: EncodedPairs, timesteps: Tensor, generator: torch.Generator) -> NoisyBatch:
    posterior_noise = torch.randn(pairs.mean.shape, generator=generator)
    noise = torch.randn(pairs.mean.shape, generator=generator)
    latents = sample_posterior(pairs.mean, pairs.std, posterior_noise, pairs.scaling_factor)
    return NoisyBatch(latents, noise, timesteps, pairs.prompt_embeds[pairs.caption_index])


def seed_generator(seed: int, purpose: str, number: int) -> torch.Generator:
    """A generator of its own for each use of randomness."""
    return torch.Generator("cpu").manual_seed(derive_stream_seed(seed, purpose, number))


def derive_stream_seed(seed: int, purpose: str, number: int) -> int:
    """A seed in [0, 2^63) of its own for each use of randomness."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
