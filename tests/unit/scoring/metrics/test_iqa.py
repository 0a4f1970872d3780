import os
from pickle import UnpicklingError

import pytest
import torch
from PIL import Image

from stages.scoring.metrics.iqa import WEIGHTS_ONLY, refuse_pickled_code, score_images


class Harmful:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_code_in_a_checkpoint_does_not_run_whatever_the_caller_asks(tmp_path, capsys):
    torch.save({"params": Harmful()}, tmp_path / "weights.pth")
    with refuse_pickled_code(), pytest.raises(UnpicklingError):
        torch.load(tmp_path / "weights.pth", weights_only=False)
    assert "ran" not in capsys.readouterr().out


def test_afterwards_torch_is_as_it_was(tmp_path):
    torch.save({"params": torch.ones(2)}, tmp_path / "weights.pth")
    with refuse_pickled_code():
        inside = torch.load(tmp_path / "weights.pth", weights_only=False)
    assert torch.equal(inside["params"], torch.ones(2))
    assert WEIGHTS_ONLY not in os.environ


def test_pictures_go_in_one_by_one_as_rgb_in_zero_to_one():
    seen = []

    def metric(pixels):
        seen.append(pixels)
        return pixels.mean(dim=(1, 2, 3))[:, None]

    images = [Image.new("RGB", (6, 4), (255, 0, 0)), Image.new("RGB", (2, 2), "white")]
    scores = score_images(metric, images, ["", ""])
    assert scores == pytest.approx([1 / 3, 1])
    assert [tuple(pixels.shape) for pixels in seen] == [(1, 3, 4, 6), (1, 3, 2, 2)]
    assert seen[0][0, :, 0, 0].tolist() == [1, 0, 0]
