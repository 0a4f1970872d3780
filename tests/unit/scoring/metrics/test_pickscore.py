import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from stages.scoring.metrics.pickscore import score_pairs
from tests.tiny import MAX_TOKENS, SMALL_TRANSFORMER, build_tokenizer

IMAGES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for seed in range(3)
]
PROMPTS = ["a photo of a cat", "a dog", "a red running shoe on a white background"]


@pytest.fixture(scope="module")
def processor():
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return CLIPProcessor(images, build_tokenizer())


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    tokenizer = processor.tokenizer
    text = SMALL_TRANSFORMER | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = SMALL_TRANSFORMER | {"image_size": 32, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()


def test_it_is_the_published_formula(model, processor):
    # As in the model's card: both projections, each over its norm, times exp(logit_scale).
    with torch.inference_mode():
        scores = score_pairs(model, processor, IMAGES, PROMPTS)
        for image, prompt, score in zip(IMAGES, PROMPTS, scores, strict=True):
            pixels = processor.image_processor(images=image, return_tensors="pt")
            tokens = processor.tokenizer(prompt, return_tensors="pt")
            image_embed = model.visual_projection(
                model.vision_model(pixels["pixel_values"]).pooler_output
            )[0]
            text_embed = model.text_projection(model.text_model(**tokens).pooler_output)[0]
            cosine = image_embed @ text_embed / image_embed.norm() / text_embed.norm()
            assert score == pytest.approx(float(model.logit_scale.exp() * cosine), rel=1e-4)


def test_a_prompt_past_the_limit_is_cut(model, processor):
    with torch.inference_mode():
        long, longer = (score_pairs(model, processor, IMAGES[:1], ["cat " * n]) for n in (60, 90))
    assert long == longer
