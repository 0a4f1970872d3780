from pathlib import Path

import pytest
import torch

from stages.adapters.methods import choose_weights
from stages.base.components import load_unet
from stages.config.params import BaseParams, load_params
from stages.files.taught import Taught
from stages.sampling import batches as batches_module
from stages.sampling.sampler import Sampled, sample_pictures
from stages.training.batches import EncodedPairs
from stages.training.lesson import PriorLesson, sample_prior
from stages.training.train import Training, build_training, train
from tests.pictures import read_samples
from tests.unit.conftest import as_lesson, build_finetune_params

SUBJECT = load_params().subject.model_copy(update={"num_prior_pictures": 5})
TAUGHT = Taught(False, SUBJECT)


def test_the_prior_is_what_the_base_draws_of_the_class_captions_in_turn(
    base: BaseParams, tmp_path: Path
) -> None:
    sampled = sample(base, tmp_path)
    assert sampled.mean.shape == (5, 4, 16, 16)
    assert sampled.caption_index.tolist() == [1, 2, 3, 4, 1]
    pictures = read_samples(tmp_path / "pictures.parquet")
    assert pictures["prompt"].tolist()[:2] == ["a photo of a frog", "a close-up photo of a frog"]
    assert pictures["seed"].is_unique
    other = sample(base, tmp_path / "other", seed=1)
    assert not torch.equal(other.mean, sampled.mean)


def test_a_killed_prior_goes_on_to_the_same_latents(
    base: BaseParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.training.lesson.BATCH_SIZE", 2)
    expected = sample(base, tmp_path / "whole")
    sizes = []

    def interrupt(sampler: object, prompts: list[str], seeds: list[int]) -> Sampled:
        sizes.append(len(prompts))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return sample_pictures(sampler, prompts, seeds)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(batches_module, "sample_pictures", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample(base, tmp_path / "killed")
    again = sizes.copy()
    assert torch.equal(sample(base, tmp_path / "killed").mean, expected.mean)
    assert sum(sizes[len(again) :]) <= 3  # the first two are not sampled again


def test_a_prior_that_is_not_finite_is_an_error(
    base: BaseParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(*args: object) -> Sampled:
        sampled = sample_pictures(*args)
        return sampled._replace(is_finite=sampled.is_finite & False)

    monkeypatch.setattr(batches_module, "sample_pictures", spoil)
    with pytest.raises(FloatingPointError, match="use precision fp32 or bf16"):
        sample(base, tmp_path)


def test_the_loss_is_that_of_the_subject_plus_lambda_times_the_priors(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    class_pairs = pairs._replace(mean=3 * pairs.mean)
    alone = build(base)
    losses = [next(train(alone, as_lesson(alone, pairs))).loss]
    losses += [take_step(base, weight, pairs, class_pairs).loss for weight in (0.5, 1.0, 2.0)]
    only, half, whole, double = losses
    assert whole - only == pytest.approx(2 * (half - only), rel=1e-4)
    assert double - only == pytest.approx(4 * (half - only), rel=1e-4)
    assert whole - only > 0.1


def test_the_priors_gradient_reaches_the_weights(base: BaseParams, pairs: EncodedPairs) -> None:
    norms = [take_step(base, weight, pairs, pairs).grad_norm for weight in (0.5, 1.0, 100.0)]
    assert norms[2] > 20 * norms[1] > 20 * norms[0]


def test_noise_and_timesteps_of_the_prior_are_its_own(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    lesson = teach(build(base), pairs, pairs, 1.0)
    [[(_, own), (_, prior)]] = lesson.draw(1)
    assert not torch.equal(own.timesteps, prior.timesteps)
    assert abs(torch.corrcoef(torch.stack([own.noise.ravel(), prior.noise.ravel()]))[0, 1]) < 0.1
    [[_, (_, again)]] = lesson.draw(1)
    assert torch.equal(again.noise, prior.noise)


def sample(base: BaseParams, scratch: Path, seed: int = 0) -> EncodedPairs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.training.lesson.PRIOR_STEPS", 2)
        return sample_prior(base, seed, TAUGHT, scratch)


def take_step(base: BaseParams, weight: float, pairs: EncodedPairs, prior: EncodedPairs) -> object:
    training = build(base)
    return next(train(training, teach(training, pairs, prior, weight)))


def teach(
    training: Training, pairs: EncodedPairs, prior: EncodedPairs, weight: float
) -> PriorLesson:
    common = vars(as_lesson(training, pairs))
    return PriorLesson(**common, prior=prior, prior_loss_weight=weight)


def build(base: BaseParams) -> Training:
    params = build_finetune_params(method="full", data="subject")
    unet = load_unet(base)
    return build_training(unet, choose_weights(unet, params), params, 1e-3, "fp32")
