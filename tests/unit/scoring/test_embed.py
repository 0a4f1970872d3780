import logging

import pytest
import torch
from PIL import Image

from stages.scoring.embed import embed_images, embed_texts, find_cut_texts
from stages.scoring.scorer import Scorer, load_scorer
from tests.tiny import build_scorer


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> Scorer:
    folder = tmp_path_factory.mktemp("models") / "scorer"
    build_scorer(folder)
    return load_scorer(f"local-dir:{folder}", None)


def test_embeds_have_unit_norm(scorer):
    images = [Image.effect_noise((40, 40), 60).convert("RGB") for _ in range(3)]
    for embeds in (embed_images(scorer, images), embed_texts(scorer, ["a cat", "a dog"])):
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(len(embeds)))


def test_batch_does_not_change_an_embed(scorer):
    images = [Image.effect_noise((40, 40), 60).convert("RGB") for _ in range(3)]
    alone = torch.cat([embed_images(scorer, [image]) for image in images])
    torch.testing.assert_close(embed_images(scorer, images), alone, rtol=0, atol=1e-6)


def test_only_texts_past_the_context_count_as_cut(scorer):
    fitting, long = " ".join(["cat"] * 75), " ".join(["cat"] * 76)  # and two special tokens: 77, 78
    assert find_cut_texts(scorer, ["a cat", fitting, long]) == [long]


def test_a_cut_prompt_is_named(scorer, caplog):
    with caplog.at_level(logging.WARNING):
        embed_texts(scorer, ["dog " * 90])
    assert "dog dog" in caplog.text
