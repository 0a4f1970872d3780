import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from stages.scoring.metrics.hpsv2 import preprocess, score_pairs
from stages.scoring.scorer import load_scorer
from tests.tiny import IMAGE_SIZE_PX, build_scorer

MEAN = np.array(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
STD = np.array(open_clip.OPENAI_DATASET_STD)[:, None, None]


def test_a_picture_of_the_right_size_is_only_normalised():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = (pixels.transpose(2, 0, 1) / 255 - MEAN) / STD
    result = preprocess(Image.fromarray(pixels), 32)
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-5)


def test_a_wide_picture_is_fitted_whole_between_black_bars():
    result = preprocess(Image.new("RGB", (64, 32), "white"), 32).numpy() * STD + MEAN
    np.testing.assert_allclose(result[:, 8:24], 1, atol=1e-5)
    np.testing.assert_allclose(result[:, :8], 0, atol=1e-5)
    np.testing.assert_allclose(result[:, 24:], 0, atol=1e-5)


def test_the_score_is_the_raw_cosine_of_picture_and_own_prompt(tmp_path, monkeypatch):
    build_scorer(tmp_path)
    scorer = load_scorer(f"local-dir:{tmp_path}", None)
    monkeypatch.setattr(
        "stages.scoring.metrics.hpsv2.preprocess", lambda image: preprocess(image, IMAGE_SIZE_PX)
    )
    images = [Image.effect_noise((40, 40), 60).convert("RGB") for _ in range(2)]
    prompts = ["a cat", "a red dog"]
    with torch.inference_mode():
        scores = score_pairs(scorer.model, scorer.tokenizer, scorer.device, images, prompts)
        pixel_values = torch.stack([preprocess(image, IMAGE_SIZE_PX) for image in images])
        image_features = scorer.model.encode_image(pixel_values.to(scorer.device))
        text_features = scorer.model.encode_text(scorer.tokenizer(prompts).to(scorer.device))
    expected = torch.nn.functional.cosine_similarity(image_features, text_features)
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)
