import pytest
import torch

from stages.base.components import load_unet
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from stages.training.batches import (
    EncodedPairs,
    check_pairs,
    draw_batches,
    draw_rows,
    draw_validation_batches,
)
from stages.training.loss import NoisyBatch
from tests.unit.conftest import build_finetune_params


def test_steps_differ_in_noise_and_timesteps(pairs: EncodedPairs) -> None:
    (one,), (two,) = (draw_batches(pairs, build_finetune_params(), 1000, n) for n in (1, 2))
    assert not torch.equal(one.noise, two.noise)
    assert not torch.equal(one.timesteps, two.timesteps)
    assert not torch.equal(one.noise, one.latents)


def test_an_epoch_sees_each_pair_once() -> None:
    rows = torch.cat([draw_rows(0, first, 4, 10) for first in range(0, 20, 4)])
    assert sorted(rows[:10].tolist()) == sorted(rows[10:].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()


def test_a_batch_larger_than_the_data_takes_several_epochs() -> None:
    assert sorted(draw_rows(0, 0, 7, 3)[:6].tolist()) == [0, 0, 1, 1, 2, 2]


def test_pairs_of_another_base_are_refused(base: BaseParams, pairs: EncodedPairs) -> None:
    unet = load_unet(base)
    check_pairs(unet, pairs)
    with pytest.raises(UserError, match="dvc repro encode"):
        check_pairs(unet, pairs._replace(prompt_embeds=torch.zeros(3, 5, 7)))


def test_validation_timesteps_cover_all_strata(pairs: EncodedPairs) -> None:
    (batch,) = draw_validation_batches(pairs, 1000)
    assert sorted(batch.timesteps.tolist()) == list(range(50, 1000, 100))  # ten pairs


def test_a_split_step_holds_the_same_pairs_and_noise(pairs: EncodedPairs) -> None:
    (whole,) = draw_batches(pairs, build_finetune_params(), 1000, 1)
    split = build_finetune_params(train_batch_size=1, gradient_accumulation_steps=4)
    parts = draw_batches(pairs, split, 1000, 1)
    for place, tensor in enumerate(whole):
        assert torch.equal(torch.cat([part[place] for part in parts]), tensor)


def test_dropped_captions_are_the_empty_one_and_nothing_else_changes(pairs: EncodedPairs) -> None:
    pairs = pairs._replace(caption_index=torch.arange(10) % 2 + 1)  # none is empty
    plain = draw_many(pairs)
    dropped = draw_many(pairs, caption_dropout_rate=0.3)
    is_empty = (dropped.prompt_embeds == pairs.prompt_embeds[0]).all(dim=(1, 2))
    assert 0.25 < is_empty.double().mean() < 0.35  # 0.3, with a standard deviation of 0.01
    assert torch.equal(dropped.prompt_embeds[~is_empty], plain.prompt_embeds[~is_empty])
    assert torch.equal(dropped.noise, plain.noise)
    assert torch.equal(dropped.latents, plain.latents)
    assert torch.equal(dropped.timesteps, plain.timesteps)
    everything = draw_many(pairs, caption_dropout_rate=1.0)
    assert (everything.prompt_embeds == pairs.prompt_embeds[0]).all()


def test_offset_noise_moves_channels_as_a_whole(pairs: EncodedPairs) -> None:
    plain, moved = draw_many(pairs), draw_many(pairs, noise_offset=0.1)
    offset = moved.noise - plain.noise
    assert offset.std(dim=(2, 3)).max() < 1e-6  # one number a channel
    assert 0.095 < offset[:, :, 0, 0].std() < 0.105
    assert torch.equal(moved.latents, plain.latents)


def test_every_option_is_the_same_however_a_step_is_split(pairs: EncodedPairs) -> None:
    options = {"caption_dropout_rate": 0.5, "noise_offset": 0.1}
    (whole,) = draw_batches(pairs, build_finetune_params(**options), 1000, 1)
    options |= {"train_batch_size": 1, "gradient_accumulation_steps": 4}
    parts = draw_batches(pairs, build_finetune_params(**options), 1000, 1)
    assert torch.equal(torch.cat([part.noise for part in parts]), whole.noise)
    assert torch.equal(torch.cat([part.prompt_embeds for part in parts]), whole.prompt_embeds)


def draw_many(pairs: EncodedPairs, **changes: object) -> NoisyBatch:
    """A batch of two thousand pairs."""
    params = build_finetune_params(train_batch_size=2000, **changes)
    (batch,) = draw_batches(pairs, params, 1000, 1)
    return batch
