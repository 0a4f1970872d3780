import pytest
import torch
from torch import nn

from stages.tiny import training
from stages.tiny.recipe import Plan
from stages.tiny.training import DEVICE, train

PLAN = Plan(
    "probe", num_steps=9, batch_size=4, learning_rate=1e-2, lr_warmup_steps=2, checkpoint_steps=3
)


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SCRATCH", tmp_path)


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
        values = torch.randn(PLAN.batch_size, 5, generator=generator).to(DEVICE)
        loss = (model(values) - values.roll(1, dims=1)).square().mean()
        return loss * float("nan") if len(calls) == poison_at else loss

    return compute_loss, calls


def run(model, **options):
    compute_loss, calls = build_loss(model, **options)
    train(PLAN, model, compute_loss)
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
    monkeypatch.setattr(training, "SCRATCH", tmp_path / "killed")
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(build_model(seed=0), interrupt_at=killed_at)
    is_saved = killed_at > PLAN.checkpoint_steps
    # Other initial weights where there is a checkpoint: all that matters must come from it.
    resumed = build_model(seed=1 if is_saved else 0)
    calls = run(resumed)
    done = (killed_at - 1) // PLAN.checkpoint_steps * PLAN.checkpoint_steps
    assert len(calls) == PLAN.num_steps - done
    assert_same_bits(resumed, undisturbed)


def test_finished_run_takes_no_further_step():
    finished = build_model(seed=0)
    run(finished)
    again = build_model(seed=1)
    assert run(again) == []
    assert_same_bits(again, finished)


def test_every_step_has_a_seed_of_its_own():
    assert len(set(run(build_model(seed=0)))) == PLAN.num_steps


def test_training_lowers_the_loss():
    model = build_model(seed=0)
    compute_loss, _ = build_loss(model)
    before = compute_loss(torch.Generator().manual_seed(1)).item()
    train(Plan("longer", 300, batch_size=4, learning_rate=1e-2, ema_decay=0.9), model, compute_loss)
    assert compute_loss(torch.Generator().manual_seed(1)).item() < before / 2


def test_moving_average_is_left_in_the_model():
    model = nn.Linear(1, 1, bias=False).to(DEVICE)
    nn.init.constant_(model.weight, 2.0)
    plan = Plan("one", 1, batch_size=1, learning_rate=0.1, lr_warmup_steps=1, weight_decay=0.0)
    train(plan, model, lambda _: model.weight.sum())
    # Adam's first step is the learning rate: 2 -> 1.9. The first decay is 1 / 10: 0.2 + 0.9 * 1.9.
    torch.testing.assert_close(model.weight.item(), 1.91, rtol=0, atol=1e-6)


def test_non_finite_loss_stops_and_names_part_and_step():
    with pytest.raises(FloatingPointError, match=r"^probe: loss is nan at step 4$"):
        run(build_model(seed=0), poison_at=5)
