import pytest
import torch

from stages.sampling.guidance import apply_guidance

UNCOND = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
TEXT = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))


def test_scale_1_gives_the_text_prediction() -> None:
    torch.testing.assert_close(apply_guidance(UNCOND, TEXT, 1.0), TEXT, rtol=1e-6, atol=1e-6)


def test_scale_0_gives_the_unconditional_prediction() -> None:
    assert torch.equal(apply_guidance(UNCOND, TEXT, 0.0), UNCOND)


@pytest.mark.parametrize("scale", [0.5, 3.0, 7.5])
def test_guidance_is_linear_in_the_scale(scale: float) -> None:
    expected = (1 - scale) * UNCOND + scale * TEXT
    torch.testing.assert_close(apply_guidance(UNCOND, TEXT, scale), expected, rtol=1e-5, atol=1e-5)
