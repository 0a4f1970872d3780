import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.bench.memory import Account, count_kept, count_saved
from tests.tiny import TEXT_WIDTH, build_unet


def compute_loss(unet: nn.Module) -> torch.Tensor:
    latents, embeds = torch.ones(2, 4, 16, 16), torch.ones(2, 24, TEXT_WIDTH)
    timesteps = torch.zeros(2, dtype=torch.int64)
    return unet(latents, timesteps, encoder_hidden_states=embeds).sample.square().mean()


def test_fake_tensors_are_kept_as_real_ones_are() -> None:
    real = build_unet()
    kept = count_saved(lambda: compute_loss(real), real)
    with FakeTensorMode():
        fake = build_unet()
        assert count_saved(lambda: compute_loss(fake), fake) == kept
    num_weights = sum(weight.numel() for weight in real.parameters())
    assert kept > num_weights


def test_a_linear_layer_under_autocast_keeps_its_input_and_its_weight_in_half() -> None:
    with FakeTensorMode(), torch.device("cuda"):
        layer = nn.Linear(8, 4, bias=False)
        inputs = torch.empty(3, 8, requires_grad=True)
        kept = count_kept(lambda: layer(inputs).float().sum(), layer)
    assert kept == 2 * (3 * 8 + 4 * 8)


def test_the_sum_is_of_all_parts_in_gib() -> None:
    gib = 2**30
    assert str(Account(gib, 2 * gib, gib // 2)) == "1.00 | 2.00 | 0.50 | **3.50**"
