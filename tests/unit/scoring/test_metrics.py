import pytest
import torch
from PIL import Image

from stages.scoring.metrics import (
    compute_clip_cosine,
    measure_brightness,
    measure_contrast,
    predict_classes,
)

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def test_clip_cosine_of_orthogonal_equal_and_opposite_embeds():
    images, texts = torch.stack([X, X, X]), torch.stack([Y, X, -X])
    assert compute_clip_cosine(images, texts).tolist() == [0.0, 1.0, -1.0]


def test_rescaling_an_embed_changes_no_clip_cosine():
    images, texts = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    expected = compute_clip_cosine(images, texts)
    torch.testing.assert_close(compute_clip_cosine(7 * images, 0.1 * texts), expected)


def test_each_picture_is_scored_with_its_own_text():
    images, texts = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    reference = torch.nn.functional.cosine_similarity(images[:, None], texts[None], dim=-1)
    torch.testing.assert_close(compute_clip_cosine(images, texts), reference.diagonal())


def test_zero_shot_takes_the_direction_that_is_nearest_not_the_longest():
    classes = torch.stack([100 * (X + Y), X, Y])
    assert predict_classes(torch.stack([Y, X, X + Y]), classes).tolist() == [2, 1, 0]


def test_brightness_of_black_grey_and_white():
    values = [measure_brightness(Image.new("RGB", (4, 4), (v, v, v))) for v in (0, 51, 255)]
    assert values == pytest.approx([0.0, 0.2, 1.0])


def test_a_picture_of_one_colour_has_no_contrast():
    assert measure_contrast(Image.new("RGB", (8, 8), (255, 0, 0))) == 0.0


def test_half_black_half_white_has_contrast_one_half():
    image = Image.new("RGB", (8, 8), "black")
    image.paste((255, 255, 255), (0, 0, 8, 4))
    assert measure_contrast(image) == pytest.approx(0.5)
