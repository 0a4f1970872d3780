import pytest
import torch
from torch import nn

from stages.tiny import lesson
from stages.tiny.lesson import DEVICE, train_part
from stages.tiny.recipe import SCORER_TRAINING

BATCH_SIZE = 4


def plan(**changes):
    return SCORER_TRAINING.model_copy(update={"learning_rate": 1e-2, **changes})


PLAN = plan(max_train_steps=9, lr_warmup_steps=2, checkpoint_steps=3)


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "SCRATCH", tmp_path)


def build_model(seed):
    """A model with a buffer that training changes, as the scorer has."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 5)).to(DEVICE)


def build_loss(model, interrupt_at=None, poison_at=None):
    """A loss of fresh data from the generator; counts its calls in `calls`."""
    calls = []

    def compute_loss(generator):
        calls.append(generator.initial_seed())
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        values = torch.randn(BATCH_SIZE, 5, generator=generator).to(DEVICE)
        loss = (model(values) - values.roll(1, dims=1)).square().mean()
        return loss * float("nan") if len(calls) == poison_at else loss

    return compute_loss, calls


def run(model, **options):
    compute_loss, calls = build_loss(model, **options)
    train_part("probe", PLAN, model, compute_loss)
    return calls


def assert_same_bits(model, reference):
    for name, value in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("killed_at", [2, 5, 8])
def test_killed_run_goes_on_to_the_same_bits_as_an_undisturbed_one(
    killed_at, tmp_path, monkeypatch
):
    undisturbed = build_model(seed=0)
    run(undisturbed)
    monkeypatch.setattr(lesson, "SCRATCH", tmp_path / "killed")
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(build_model(seed=0), interrupt_at=killed_at)
    is_saved = killed_at > PLAN.checkpoint_steps
    # Other initial weights where there is a checkpoint: all that matters must come from it.
    resumed = build_model(seed=1 if is_saved else 0)
    calls = run(resumed)
    done = (killed_at - 1) // PLAN.checkpoint_steps * PLAN.checkpoint_steps
    assert len(calls) == PLAN.max_train_steps - done
    assert_same_bits(resumed, undisturbed)


def test_finished_run_takes_no_further_step():
    finished = build_model(seed=0)
    run(finished)
    again = build_model(seed=1)
    assert run(again) == []
    assert_same_bits(again, finished)


def test_every_step_has_a_seed_of_its_own():
    assert len(set(run(build_model(seed=0)))) == PLAN.max_train_steps


def test_training_lowers_the_loss():
    model = build_model(seed=0)
    compute_loss, _ = build_loss(model)
    before = compute_loss(torch.Generator().manual_seed(1)).item()
    train_part("longer", plan(max_train_steps=300, ema_decay=0.9), model, compute_loss)
    assert compute_loss(torch.Generator().manual_seed(1)).item() < before / 2


def test_moving_average_is_left_in_the_model():
    model = nn.Linear(1, 1, bias=False).to(DEVICE)
    nn.init.constant_(model.weight, 2.0)
    changes = {"max_train_steps": 2, "lr_warmup_steps": 0, "adam_weight_decay": 0.0}
    train_part("two", plan(learning_rate=0.1, **changes), model, lambda _: model.weight.sum())
    # Adam's steps are the learning rate, of which the cosine leaves half for the second one:
    # 2 -> 1.9 -> 1.85. The decays are 0 and 2 / 11.
    expected = 2 / 11 * 1.9 + 9 / 11 * 1.85
    torch.testing.assert_close(model.weight.item(), expected, rtol=0, atol=1e-6)


def test_non_finite_loss_stops_and_names_the_step():
    with pytest.raises(FloatingPointError, match=r"^step 5: the loss is nan;"):
        run(build_model(seed=0), poison_at=5)
