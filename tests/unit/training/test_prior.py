from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.adapters.methods import choose_weights
from stages.base.components import load_noise_scheduler, load_scheduler_config, load_unet
from stages.config.params import BaseParams
from stages.sampling.denoise import build_scheduler
from stages.training import prior as prior_module
from stages.training.batches import EncodedPairs, draw_batches, draw_prior_batches
from stages.training.prior import sample_prior
from stages.training.train import Training, build_training, train
from tests.tiny import MAX_TOKENS, TEXT_WIDTH
from tests.unit.conftest import build_finetune_params

SHAPE = (4, 8, 8)


def test_captions_take_turns_and_latents_are_already_scaled(
    base: BaseParams, tmp_path: Path
) -> None:
    sampled = sample(base, tmp_path)
    assert sampled.mean.shape == (5, *SHAPE)
    assert sampled.caption_index.tolist() == [1, 2, 1, 2, 1]
    assert sampled.scaling_factor == 1
    assert sampled.std.abs().max() == 0


def test_a_killed_sampling_goes_on_to_the_same_latents(
    base: BaseParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior_module, "BATCH_SIZE", 2)
    expected = sample(base, tmp_path / "whole")
    real, sizes = prior_module.denoise, []

    def interrupt(*args: object) -> Tensor:
        sizes.append(len(args[2]))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(prior_module, "denoise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample(base, tmp_path / "killed")
    assert torch.equal(sample(base, tmp_path / "killed").mean, expected.mean)
    assert sizes == [2, 2, 2, 1]  # the first is not sampled again


def test_latents_that_are_not_finite_are_an_error(
    base: BaseParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior_module, "denoise", lambda *args: torch.full((5, *SHAPE), torch.nan))
    with pytest.raises(FloatingPointError, match="use precision fp32 or bf16"):
        sample(base, tmp_path)


def test_the_loss_is_that_of_the_instance_plus_lambda_times_the_priors(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    class_pairs = pairs._replace(mean=3 * pairs.mean)
    alone, half, whole, double = (
        next(train(start(base, weight, class_pairs if weight else None), pairs)).loss
        for weight in (0.0, 0.5, 1.0, 2.0)
    )
    assert whole - alone == pytest.approx(2 * (half - alone), rel=1e-4)
    assert double - alone == pytest.approx(4 * (half - alone), rel=1e-4)
    assert whole - alone > 0.1


def test_the_priors_gradient_reaches_the_weights(base: BaseParams, pairs: EncodedPairs) -> None:
    norms = [
        next(train(start(base, weight, pairs), pairs)).grad_norm for weight in (0.5, 1.0, 100.0)
    ]
    assert norms[2] > 20 * norms[1] > 20 * norms[0]


def test_noise_and_timesteps_of_the_prior_are_its_own(pairs: EncodedPairs) -> None:
    params = build_finetune_params()
    (own,), (prior,) = (draw(pairs, params, 1000, 1) for draw in (draw_batches, draw_prior_batches))
    assert not torch.equal(own.timesteps, prior.timesteps)
    assert abs(torch.corrcoef(torch.stack([own.noise.ravel(), prior.noise.ravel()]))[0, 1]) < 0.1
    (again,) = draw_prior_batches(pairs, params, 1000, 1)
    assert torch.equal(again.noise, prior.noise)


def sample(base: BaseParams, scratch: Path) -> EncodedPairs:
    generator = torch.Generator().manual_seed(2)
    prompt_embeds = torch.randn(3, MAX_TOKENS, TEXT_WIDTH, generator=generator)
    scheduler = build_scheduler(load_scheduler_config(base), "ddim")
    params = build_finetune_params().dreambooth
    return sample_prior(load_unet(base), scheduler, prompt_embeds, SHAPE, params, 0, scratch)


def start(base: BaseParams, weight: float, prior: EncodedPairs | None) -> Training:
    dreambooth = build_finetune_params().dreambooth.model_dump() | {"prior_loss_weight": weight}
    params = build_finetune_params(method="dreambooth", dreambooth=dreambooth)
    unet = load_unet(base)
    weights, noise_scheduler = choose_weights(unet, params), load_noise_scheduler(base)
    training = build_training(unet, weights, noise_scheduler, params, 1e-3, "fp32")
    return replace(training, prior=prior)
