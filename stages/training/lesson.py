"""What a method trains, and what it is trained on: all that the training loop asks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
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
from stages.base.components import load_text_encoder, load_unet, load_vae
from stages.base.device import choose_device
from stages.base.identity import fingerprint_weights
from stages.base.latents import encode_posterior, to_pixel_values
from stages.base.prompts import encode_distinct
from stages.config.params import BaseParams, DenoiseParams, FinetuneParams
from stages.files.images import decode_image
from stages.files.pictures import IMAGE, read_parts
from stages.files.tables import SAMPLES_SCHEMA
from stages.files.taught import Taught
from stages.run.peaks import watch_part
from stages.sampling.batches import plan_pictures, sample_table
from stages.sampling.sampler import build_sampler
from stages.training.batches import (
    EncodedPairs,
    derive_stream_seed,
    draw_batches,
    draw_validation_batches,
)
from stages.training.loss import NoisyBatch, compute_loss

PRIOR_STEPS, PRIOR_GUIDANCE_SCALE = 30, 7.5  # as the tiny base's own pictures, by DDIM
BATCH_SIZE = 16

Terms = list[tuple[float, NoisyBatch]]
"""The terms of a loss, each a batch with its weight."""


@dataclass
class Lesson:
    """Captioned pictures, for a method that trains weights of the U-Net.

    Attributes:
        weights: What is trained, by name.
        pairs: What it is trained on.
        validation_pairs: What its loss is measured on.
        params: The section `finetune`.
        noise_scheduler: Adds noise; its config holds the prediction type.
        identity: What else of the base, beside its U-Net, the weights fit.
    """

    weights: dict[str, nn.Parameter]
    pairs: EncodedPairs
    validation_pairs: EncodedPairs
    params: FinetuneParams
    noise_scheduler: DDPMScheduler
    identity: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def num_timesteps(self) -> int:
        """T, of the noise schedule."""
        return self.noise_scheduler.config.num_train_timesteps

    def draw(self, step: int) -> list[Terms]:
        """The batches that a step accumulates, each as the terms of its loss; always the same."""
        batches = draw_batches(self.pairs, self.params, self.num_timesteps, step)
        return [[(1.0, batch)] for batch in batches]

    def compute_loss(
        self, unet: UNet2DConditionModel, batch: NoisyBatch, snr_gamma: float | None = None
    ) -> Tensor:
        """The loss of a batch, see `loss.compute_loss`."""
        return compute_loss(unet, self.noise_scheduler, batch.to(unet.device), snr_gamma)

    def validation(self) -> list[NoisyBatch]:
        """All validation pairs, at the same noise and timesteps each time."""
        return draw_validation_batches(self.validation_pairs, self.num_timesteps)

    def finish_step(self) -> None:
        """Called when all batches of a step have left their gradients."""


@dataclass
class WordLesson(Lesson):
    """For textual_inversion: the captions change with the word that is learned."""

    captions: LearnedCaptions = field(kw_only=True)

    def draw(self, step: int) -> list[Terms]:
        """As `Lesson.draw`, with the captions as they are now."""
        self.pairs = self.pairs._replace(prompt_embeds=self.captions.embed_for_step())
        return super().draw(step)

    def validation(self) -> list[NoisyBatch]:
        """As `Lesson.validation`, with the captions as they are now."""
        embeds = self.captions.embed()
        self.validation_pairs = self.validation_pairs._replace(prompt_embeds=embeds)
        return super().validation()

    def finish_step(self) -> None:
        """Take the gradients on to the word."""
        self.captions.pass_gradients()


@dataclass
class PriorLesson(Lesson):
    """For a subject: beside its pictures what the frozen base makes of its class.

    Ruiz et al. 2023, equation 2: E |x - x'|^2 + lambda E |x_pr - x_pr'|^2.

    Attributes:
        prior: Pictures of the class, x_pr.
        prior_loss_weight: Their lambda.
    """

    prior: EncodedPairs = field(kw_only=True)
    prior_loss_weight: float = field(kw_only=True)

    def draw(self, step: int) -> list[Terms]:
        """As `Lesson.draw`, each batch with one of the prior: other noise, other timesteps."""
        seed = derive_stream_seed(self.params.seed, "prior", 0)
        params = self.params.model_copy(update={"seed": seed})
        priors = draw_batches(self.prior, params, self.num_timesteps, step)
        return [
            [*terms, (self.prior_loss_weight, prior)]
            for terms, prior in zip(super().draw(step), priors, strict=True)
        ]


def build_word_lesson(
    base: BaseParams,
    params: FinetuneParams,
    taught: Taught,
    pairs: tuple[EncodedPairs, EncodedPairs],
    captions: Sequence[str],
    noise_scheduler: DDPMScheduler,
) -> WordLesson:
    """The lesson of textual_inversion, on the subject's pairs and those that are held out.

    Raises:
        UserError: The word is not new, or it would start as several tokens.
    """
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    identity = {"text_encoder": fingerprint_weights(text_encoder)}
    placeholder, num_vectors = taught.subject.placeholder, params.textual_inversion.num_vectors
    start = find_initializer(tokenizer, placeholder, taught.subject.initializer, num_vectors)
    rows = start_rows(text_encoder, start, num_vectors)
    tokens = name_tokens(placeholder, num_vectors)
    add_word(tokenizer, text_encoder, tokens, rows)
    distinct = list(dict.fromkeys(["", *captions]))
    spelled = [spell(caption, tokens) for caption in distinct]
    learned = LearnedCaptions(tokenizer, text_encoder, spelled)
    index = torch.tensor([distinct.index(caption) for caption in captions])
    parts = index.split([len(part.mean) for part in pairs])
    embeds = learned.embed().detach()
    train, held_out = (
        part._replace(caption_index=rows_of, prompt_embeds=embeds)
        for part, rows_of in zip(pairs, parts, strict=True)
    )
    return WordLesson(
        {placeholder: rows},
        train,
        held_out,
        params,
        noise_scheduler,
        identity=identity,
        captions=learned,
    )


def build_prior_lesson(
    base: BaseParams,
    unet: UNet2DConditionModel,
    params: FinetuneParams,
    taught: Taught,
    pairs: tuple[EncodedPairs, EncodedPairs],
    noise_scheduler: DDPMScheduler,
    scratch: Path,
) -> Lesson:
    """The lesson of weights of the U-Net on a subject; at a weight of 0 there is no prior."""
    common = (choose_weights(unet, params), *pairs, params, noise_scheduler)
    if (weight := taught.subject.prior_loss_weight) == 0:
        return Lesson(*common)
    prior = sample_prior(base, params.seed, taught, scratch / "prior")
    return PriorLesson(*common, prior=prior, prior_loss_weight=weight)


@watch_part("prior")
def sample_prior(base: BaseParams, seed: int, taught: Taught, scratch: Path) -> EncodedPairs:
    """Pictures of the subject's class by the frozen base, encoded (Ruiz et al. 2023, section 3.3).

    Training on these beside the subject keeps the class from becoming the subject.

    Raises:
        FloatingPointError: The base draws pictures that are not finite.
    """
    tokenizer, text_encoder = load_text_encoder(base, choose_device())
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "prompt_embeds").unlink(missing_ok=True)
    captions = taught.class_captions
    distinct, embeds = encode_distinct(tokenizer, text_encoder, captions, scratch)
    how = DenoiseParams(
        scheduler="ddim",
        num_inference_steps=PRIOR_STEPS,
        guidance_scale=PRIOR_GUIDANCE_SCALE,
        negative_prompt=None,
        batch_size=BATCH_SIZE,
        seed=seed,
    )
    prompts = pd.DataFrame({"prompt": captions, "set": "prior", "class": taught.subject.class_name})
    prompts = prompts.assign(prompt_id=[f"prior-{row}" for row in prompts.index])
    num_pictures = taught.subject.num_prior_pictures
    num_each = -(-num_pictures // len(captions))
    rows = plan_pictures(prompts, {"prior": num_each}, how, base.model)
    rows = rows.sort_values("index", kind="stable").head(num_pictures)
    sampler = build_sampler(base, how, load_unet(base), dict(zip(distinct, embeds, strict=True)))
    table = sample_table(sampler, rows, rows["prompt"].tolist(), scratch)
    return _encode_pictures(base, table, distinct, embeds)


def _encode_pictures(
    base: BaseParams, table: Path, distinct: list[str], prompt_embeds: Tensor
) -> EncodedPairs:
    vae = load_vae(base, choose_device())
    parts, index = [], []
    for rows in read_parts(table, SAMPLES_SCHEMA, "finetune", BATCH_SIZE):
        if not rows["is_finite"].all():
            raise FloatingPointError(
                "the base draws pictures that are not finite; use precision fp32 or bf16"
            )
        images = np.stack([np.asarray(decode_image(data, str(table))) for data in rows[IMAGE]])
        parts.append(encode_posterior(vae, to_pixel_values(images)))
        index += [distinct.index(prompt) for prompt in rows["prompt"]]
    mean, std = (torch.cat(part) for part in zip(*parts, strict=True))
    return EncodedPairs(mean, std, vae.config.scaling_factor, prompt_embeds, torch.tensor(index))
