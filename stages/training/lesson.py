"""What a method trains, and on what: weights, pairs and all else that its loss takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stages.adapters.methods import choose_weights
from stages.adapters.word import (
    LearnedCaptions,
    add_word,
    find_initializer,
    name_tokens,
    spell,
    start_rows,
)
from stages.base.components import (
    choose_device,
    choose_precision,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.base.identity import fingerprint_weights
from stages.base.latents import encode_posterior, to_pixel_values
from stages.base.prompts import encode_prompts, warn_of_cuts
from stages.config.params import BaseParams, FinetuneParams
from stages.sampling.denoise import build_scheduler
from stages.sampling.sampler import cast_unet, measure_latents
from stages.training.batches import EncodedPairs
from stages.training.prior import sample_prior

BATCH_SIZE = 16


class Lesson(NamedTuple):
    """What a method trains, and on what.

    Attributes:
        weights: What is trained, by name.
        pairs: What it is trained on.
        validation_pairs: What its loss is measured on.
        identity: What else of the base, beside its U-Net, the weights fit.
        captions: See `Training`; likewise `prior`.
    """

    weights: dict[str, nn.Parameter]
    pairs: EncodedPairs
    validation_pairs: EncodedPairs
    identity: dict[str, str] | None = None
    captions: LearnedCaptions | None = None
    prior: EncodedPairs | None = None


class InstancePictures(NamedTuple):
    """The pictures of one thing: uint8 (N, H, W, 3), and of each its caption and its split."""

    images: np.ndarray
    captions: list[str]
    is_train: list[bool]


def prepare_inversion(
    base: BaseParams, params: FinetuneParams, pictures: InstancePictures, words: dict[str, Any]
) -> Lesson:
    """The lesson of textual_inversion: one word, whose captions change with it.

    Raises:
        UserError: The word is not new, or it would start as several tokens.
    """
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    identity = {"text_encoder": fingerprint_weights(text_encoder)}
    placeholder, num_vectors = words["placeholder"], params.textual_inversion.num_vectors
    start = find_initializer(tokenizer, placeholder, words["initializer"], num_vectors)
    rows, tokens = (
        start_rows(text_encoder, start, num_vectors),
        name_tokens(placeholder, num_vectors),
    )
    add_word(tokenizer, text_encoder, tokens, rows)
    distinct = list_distinct(pictures.captions)
    spelled = [spell(caption, tokens) for caption in distinct]
    warn_of_cuts(tokenizer, spelled)
    captions = LearnedCaptions(tokenizer, text_encoder, spelled)
    pairs = encode_pictures(base, pictures, captions.embed().detach())
    return Lesson({placeholder: rows}, *pairs, identity, captions)


def prepare_dreambooth(
    base: BaseParams,
    params: FinetuneParams,
    unet: UNet2DConditionModel,
    pictures: InstancePictures,
    words: dict[str, Any],
    scratch: Path,
) -> Lesson:
    """The lesson of dreambooth: the U-Net, beside the pictures what it makes of their class."""
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    captions, class_captions = list_distinct(pictures.captions), ["", *words["class_captions"]]
    warn_of_cuts(tokenizer, [*captions, *class_captions])
    pairs = encode_pictures(base, pictures, encode_prompts(tokenizer, text_encoder, captions))
    prior = None
    if params.dreambooth.prior_loss_weight > 0:
        prior_embeds = encode_prompts(tokenizer, text_encoder, class_captions)
        prior = sample_class(base, params, prior_embeds, scratch)
    return Lesson(choose_weights(unet, params), *pairs, prior=prior)


def sample_class(
    base: BaseParams, params: FinetuneParams, prompt_embeds: Tensor, scratch: Path
) -> EncodedPairs:
    """What the frozen base makes of the class; see `sample_prior`."""
    device = choose_device()
    return sample_prior(
        cast_unet(load_unet(base), choose_precision(base, device), device),
        build_scheduler(load_scheduler_config(base), "ddim"),
        prompt_embeds,
        measure_latents(load_vae(base, device), base.resolution_px),
        params.dreambooth,
        params.seed,
        scratch,
    )


def list_distinct(captions: Sequence[str]) -> list[str]:
    """The empty caption, then each caption once."""
    return list(dict.fromkeys(["", *captions]))


def encode_pictures(
    base: BaseParams, pictures: InstancePictures, prompt_embeds: Tensor
) -> tuple[EncodedPairs, EncodedPairs]:
    """The pairs to train on and those that are held out; embeddings (K, L, D) of their captions."""
    vae = load_vae(base, choose_device())
    measure_latents(vae, base.resolution_px)
    pixel_values = to_pixel_values(pictures.images)
    parts = [encode_posterior(vae, part) for part in pixel_values.split(BATCH_SIZE)]
    mean, std = (torch.cat(part) for part in zip(*parts, strict=True))
    distinct = list_distinct(pictures.captions)
    index = torch.tensor([distinct.index(caption) for caption in pictures.captions])
    pairs = EncodedPairs(mean, std, vae.config.scaling_factor, prompt_embeds, index)
    is_train = torch.tensor(pictures.is_train)
    return pairs.select(is_train), pairs.select(~is_train)
