from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from stages.config.mistakes import UserError
from stages.training.loss import NoisyBatch, compute_loss, compute_target, weigh_timesteps

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BATCH = NoisyBatch(
    latents=torch.full((2, 4, 2, 2), 3.0),
    noise=torch.full((2, 4, 2, 2), 0.5),
    timesteps=torch.tensor([0, 999]),
    prompt_embeds=torch.zeros(2, 1, 1),
)


def build_schedule(prediction_type: str) -> DDPMScheduler:
    return DDPMScheduler(**SCHEDULE, prediction_type=prediction_type)


class Recorder:
    """A U-Net that predicts 0 and keeps what it was given."""

    def parameters(self) -> Iterator[Tensor]:
        yield torch.zeros(1)

    def __call__(self, sample: Tensor, timesteps: Tensor, encoder_hidden_states: Tensor) -> object:
        self.sample = sample
        return SimpleNamespace(sample=torch.zeros_like(sample))


def test_noisy_latents_follow_the_published_schedule() -> None:
    unet = Recorder()
    compute_loss(unet, build_schedule("epsilon"), BATCH)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)[BATCH.timesteps].float().reshape(2, 1, 1, 1)
    expected = kept.sqrt() * BATCH.latents + (1 - kept).sqrt() * BATCH.noise
    torch.testing.assert_close(unet.sample, expected, rtol=1e-4, atol=1e-5)  # float32 cumprod


def test_predicting_zero_costs_the_mean_square_of_the_noise() -> None:
    assert compute_loss(Recorder(), build_schedule("epsilon"), BATCH).item() == 0.25


def test_target_follows_the_prediction_type() -> None:
    assert torch.equal(compute_target(build_schedule("epsilon"), BATCH), BATCH.noise)
    assert torch.equal(compute_target(build_schedule("sample"), BATCH), BATCH.latents)
    velocity = compute_target(build_schedule("v_prediction"), BATCH)
    kept = build_schedule("v_prediction").alphas_cumprod[BATCH.timesteps].reshape(2, 1, 1, 1)
    expected = kept.sqrt() * BATCH.noise - (1 - kept).sqrt() * BATCH.latents
    torch.testing.assert_close(velocity, expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weights_are_the_papers(prediction_type: str) -> None:
    noise_scheduler = build_schedule(prediction_type)
    timesteps = torch.tensor([0, 50, 999])
    kept = noise_scheduler.alphas_cumprod[timesteps].double()
    snr = kept / (1 - kept)
    assert snr[0] > snr[1] > 5 > snr[2]
    clamped = torch.minimum(snr, torch.full_like(snr, 5))
    expected = {"epsilon": clamped / snr, "v_prediction": clamped / (snr + 1), "sample": clamped}
    weights = weigh_timesteps(noise_scheduler, timesteps, 5.0)
    torch.testing.assert_close(weights.double(), expected[prediction_type], rtol=1e-3, atol=0)


def test_min_snr_weighs_each_pictures_error_by_its_own_timestep() -> None:
    # 0.25 is the error of both pictures; the second's weight is 1, as its SNR is below gamma.
    noise_scheduler = build_schedule("epsilon")
    weights = weigh_timesteps(noise_scheduler, BATCH.timesteps, 5.0)
    assert weights[0] < 0.01
    assert weights[1] == 1
    loss = compute_loss(Recorder(), noise_scheduler, BATCH, snr_gamma=5.0)
    assert loss.item() == pytest.approx(0.25 * weights.mean().item())


def test_a_gamma_above_every_snr_changes_nothing() -> None:
    loss = compute_loss(Recorder(), build_schedule("epsilon"), BATCH, snr_gamma=1e9)
    assert loss.item() == pytest.approx(0.25)


def test_an_unknown_prediction_type_is_refused() -> None:
    noise_scheduler = SimpleNamespace(config=SimpleNamespace(prediction_type="score"))
    with pytest.raises(UserError, match="prediction_type score"):
        compute_target(noise_scheduler, BATCH)
