import math

import open_clip
import pytest
import torch
from torch.nn import functional as F

from stages.tiny import recipe
from stages.tiny.scorer import augment, build_config, contrast, save_scorer
from stages.tiny.tokenizer import build_tokenizer

SCALE = torch.tensor(5.0)


def measure(image_embeds, text_embeds, scale=SCALE):
    return contrast(image_embeds, text_embeds, scale)


def draw_embeds(seed, num_rows=4, width=8):
    return torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed))


def test_contrast_of_orthogonal_captions_is_the_closed_form():
    embeds = torch.eye(4)
    expected = math.log(1 + 3 * math.exp(-5))
    torch.testing.assert_close(measure(embeds, embeds).item(), expected)


def test_contrast_is_lower_for_aligned_embeds():
    embeds = draw_embeds(0)
    aligned = measure(embeds, embeds)
    assert aligned < measure(embeds[[2, 3, 0, 1]], embeds)
    assert aligned < measure(draw_embeds(1), embeds)


def test_pictures_of_one_caption_may_change_places():
    text_embeds = draw_embeds(1)[[0, 0, 2, 3]]
    image_embeds = draw_embeds(0)
    swapped = image_embeds[[1, 0, 2, 3]]
    # Summed in another order: equal to rounding.
    torch.testing.assert_close(measure(swapped, text_embeds), measure(image_embeds, text_embeds))


def test_contrast_treats_pictures_and_texts_alike_and_ignores_length():
    image_embeds, text_embeds = draw_embeds(0), draw_embeds(1)
    expected = measure(image_embeds, text_embeds)
    torch.testing.assert_close(measure(text_embeds, image_embeds), expected)
    torch.testing.assert_close(measure(3 * image_embeds, 0.1 * text_embeds), expected)


def test_logit_scale_has_a_ceiling_of_100():
    embeds = draw_embeds(0)
    assert torch.equal(
        measure(embeds, embeds, scale=torch.tensor(1e6)),
        measure(embeds, embeds, scale=torch.tensor(100.0)),
    )


def test_augment_is_a_pure_function_of_the_generator_and_stays_in_range():
    pixel_values = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, again, other = (
        augment(pixel_values, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == pixel_values.shape
    assert first.abs().max() <= 1


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(["a red cat", "a blue ship"])


def test_saved_scorer_is_what_open_clip_loads(tokenizer, tmp_path):
    torch.manual_seed(0)
    model = open_clip.CLIP(**build_config(tokenizer, recipe.SCORER)["model_cfg"]).eval()
    save_scorer(model, tokenizer, tmp_path)
    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    assert {p.name for p in tmp_path.iterdir()} >= {
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "tokenizer.json",
    }
    for name, value in model.half().float().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert type(preprocess.transforms[-1]).__name__ == "Normalize"
    assert tuple(preprocess.transforms[-1].mean) == (0.5, 0.5, 0.5)


def test_text_tower_reads_the_end_token(tokenizer):
    """Padding after the end token does not matter; the highest id marks it."""
    torch.manual_seed(0)
    model = open_clip.CLIP(**build_config(tokenizer, recipe.SCORER)["model_cfg"]).eval()
    ids = tokenizer("a red cat", padding="max_length", return_tensors="pt").input_ids
    padded = ids.clone()
    padded[0, ids[0].argmax() + 1 :] = 0
    assert ids[0].argmax() == 4
    with torch.no_grad():
        embeds, others = (F.normalize(model.encode_text(i), dim=-1) for i in (ids, padded))
    torch.testing.assert_close(embeds, others, rtol=0, atol=1e-5)
