import os
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]


def test_the_default_tests_see_no_gpu() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not torch.cuda.is_available()


def test_each_marker_that_can_be_asked_for_marks_something() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    for marker in ("gpu", "slow", "thorough"):
        assert f"pytest.mark.{marker}" in source, marker
