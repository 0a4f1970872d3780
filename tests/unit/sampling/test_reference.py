"""Our steps are those of diffusers' training scripts, written here as the scripts write them.

`full` is examples/text_to_image/train_text_to_image.py, `lora` is train_text_to_image_lora.py; both
get the batches that we draw.
"""

from collections.abc import Iterator

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from torch.nn import functional as F

from stages.adapters.methods import choose_weights
from stages.base.components import load_noise_scheduler, load_unet
from stages.config.params import BaseParams, FinetuneParams
from stages.training.batches import EncodedPairs, draw_batches
from stages.training.train import build_training, train
from tests.unit.conftest import as_lesson, build_finetune_params


@pytest.mark.parametrize("method", ["full", "lora"])
def test_three_steps_are_those_of_diffusers_scripts(
    base: BaseParams, pairs: EncodedPairs, method: str
) -> None:
    # A large epsilon: else Adam takes the sign of gradients that are rounding alone.
    params = build_finetune_params(
        method=method, max_train_steps=3, lr_scheduler="cosine", lr_warmup_steps=1, seed=7,
        adam_epsilon=1e-3,
    )  # fmt: skip
    noise_scheduler = load_noise_scheduler(base)
    theirs = load_unet(base)
    expected = list(train_as_diffusers(theirs, noise_scheduler, pairs, params))

    ours = load_unet(base)
    weights = choose_weights(ours, params)
    training = build_training(ours, weights, params, params.learning_rate, "fp32")
    lesson = as_lesson(training, pairs)
    steps = [(s.loss, s.grad_norm, s.learning_rate) for s in train(training, lesson)]
    torch.testing.assert_close(torch.tensor(steps), torch.tensor(expected), rtol=1e-4, atol=1e-7)
    before = load_unet(base).state_dict()
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    assert trained.keys() == weights.keys()
    for name, weight in trained.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-4, atol=1e-6)
        assert name not in before or not torch.equal(weight, before[name])


def train_as_diffusers(
    unet: UNet2DConditionModel,
    noise_scheduler: DDPMScheduler,
    pairs: EncodedPairs,
    params: FinetuneParams,
) -> Iterator[tuple[float, float, float]]:
    """Loss, gradient norm and learning rate of each step."""
    torch.manual_seed(params.seed)
    if params.method == "full":
        unet.requires_grad_(True)
    else:
        unet.requires_grad_(False)
        unet_lora_config = LoraConfig(
            r=params.lora.rank,
            lora_alpha=params.lora.alpha,
            init_lora_weights="gaussian",
            target_modules=["to_k", "to_q", "to_v", "to_out.0"],
        )
        unet.add_adapter(unet_lora_config)
    unet.train()
    trainable = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable,
        lr=params.learning_rate,
        betas=(params.adam_beta1, params.adam_beta2),
        weight_decay=params.adam_weight_decay,
        eps=params.adam_epsilon,
    )
    lr_scheduler = get_scheduler(
        params.lr_scheduler,
        optimizer=optimizer,
        num_warmup_steps=params.lr_warmup_steps,
        num_training_steps=params.max_train_steps,
    )
    for step in range(1, params.max_train_steps + 1):
        (batch,) = draw_batches(pairs, params, noise_scheduler.config.num_train_timesteps, step)
        noisy_latents = noise_scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
        model_pred = unet(noisy_latents, batch.timesteps, batch.prompt_embeds).sample
        loss = F.mse_loss(model_pred.float(), batch.noise.float(), reduction="mean")
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(trainable, params.max_grad_norm)
        learning_rate = lr_scheduler.get_last_lr()[0]
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()
        yield loss.item(), grad_norm.item(), learning_rate
