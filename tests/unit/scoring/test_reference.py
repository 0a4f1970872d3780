"""Our cosines are those of open_clip called as its README does, and of torchmetrics' CLIPScore."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stages.files.clip_files import WEIGHTS, describe_clip
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.metrics.clip import compute_clip_cosine
from stages.scoring.scorer import load_scorer
from tests.tiny import build_scorer

TEXTS = ["a photo of a cat", "a blue coffee mug on a wooden table", "a photo of a ship"]
PAPERS_SCORER = "ViT-B-32-quickgelu"


def draw_pictures() -> list[Image.Image]:
    """Smooth and rough, wide, high and square: what resize and crop treat differently."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (300, 260, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, 256 * 256 * 3).reshape(256, 256, 3).astype(np.uint8)
    small = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in (rough, ramp, small)]


def compute_as_open_clip(name: str, pretrained: str | None) -> torch.Tensor:
    """The cosines as open_clip's README has them: a picture at a time."""
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    cosines = []
    for image, text in zip(draw_pictures(), TEXTS, strict=True):
        with torch.no_grad():
            image_features = model.encode_image(preprocess(image).unsqueeze(0))
            text_features = model.encode_text(tokenizer([text]))
        image_features /= image_features.norm(dim=-1, keepdim=True)
        text_features /= text_features.norm(dim=-1, keepdim=True)
        cosines.append((image_features @ text_features.T).item())
    return torch.tensor(cosines)


def compute_ours(name: str, pretrained: str | None) -> torch.Tensor:
    scorer = load_scorer(name, pretrained)
    return compute_clip_cosine(embed_images(scorer, draw_pictures()), embed_texts(scorer, TEXTS))


def test_cosines_are_open_clips_with_the_tiny_scorer(tmp_path: Path) -> None:
    build_scorer(tmp_path)
    name = f"local-dir:{tmp_path}"
    expected = compute_as_open_clip(name, None)
    torch.testing.assert_close(compute_ours(name, None), expected, rtol=0, atol=1e-5)
    assert expected.abs().max() > 0.01


@pytest.mark.slow
def test_cosines_are_open_clips_with_the_papers_scorer_and_any_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model(PAPERS_SCORER)
    weights = tmp_path / WEIGHTS[0]
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    expected = compute_as_open_clip(PAPERS_SCORER, str(weights))
    ours = compute_ours(PAPERS_SCORER, str(weights))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    plain = compute_ours("ViT-B-32", str(weights))  # the same weights without QuickGELU
    assert not torch.allclose(plain, expected, rtol=0, atol=1e-5)


def test_a_hundred_clamped_cosines_are_torchmetrics_clip_score() -> None:
    # torchmetrics 1.9, functional/multimodal/clip_score.py: features over their norms, then
    # 100 * (image * text).sum(axis=-1), and the mean of them, not below 0.
    generator = torch.Generator().manual_seed(0)
    image_features, text_features = torch.randn(2, 6, 16, generator=generator)
    scaled = 100 * (
        (image_features / image_features.norm(p=2, dim=-1, keepdim=True))
        * (text_features / text_features.norm(p=2, dim=-1, keepdim=True))
    ).sum(axis=-1)
    ours = compute_clip_cosine(image_features, text_features)
    clip_score = torch.max(scaled.mean(0), torch.zeros(()))
    torch.testing.assert_close((100 * ours).mean().clamp(min=0), clip_score, rtol=0, atol=1e-5)
    assert {bool(value) for value in ours > 0} == {True, False}


@pytest.mark.parametrize(
    ("name", "pretrained", "repository", "first"),
    [
        (PAPERS_SCORER, "openai", "timm/vit_base_patch32_clip_224.openai", WEIGHTS[0]),
        ("hf-hub:somebody/scorer", None, "somebody/scorer", "open_clip_config.json"),
    ],
)
def test_a_scorer_on_the_hub_is_known_before_it_is_loaded(
    name: str, pretrained: str | None, repository: str, first: str
) -> None:
    model = describe_clip(name, pretrained)
    assert model is not None
    assert (model.name, model.wanted[0][0]) == (repository, first)


@pytest.mark.parametrize(
    ("name", "pretrained"), [("local-dir:models", None), (PAPERS_SCORER, "weights.safetensors")]
)
def test_a_scorer_in_a_folder_or_file_asks_no_hub(name: str, pretrained: str | None) -> None:
    assert describe_clip(name, pretrained) is None
