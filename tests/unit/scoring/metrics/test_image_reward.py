import pytest
import torch
from torch import nn
from transformers import BlipTextConfig, BlipVisionConfig

from stages.scoring.metrics.image_reward import MEAN, STD, RewardModel, rename


@pytest.fixture
def model():
    torch.manual_seed(0)
    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    vision = BlipVisionConfig(**small, image_size=32, patch_size=16)
    text = BlipTextConfig(**small, vocab_size=60, encoder_hidden_size=32, hidden_act="gelu")
    model = RewardModel(vision, text).eval()
    for parameter in model.parameters():  # as initialised, all rewards are nearly equal
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    pixel_values = torch.randn(2, 3, 32, 32, generator=generator)
    input_ids = torch.tensor([[1, 5, 9, 0], [1, 7, 0, 0]])
    return pixel_values, input_ids, (input_ids != 0).long()


def test_the_raw_reward_is_brought_to_mean_zero_and_deviation_one(model, inputs):
    with torch.inference_mode():
        for layer in model.head.values():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        model.head["7"].bias.fill_(MEAN + 2 * STD)
        assert model(*inputs).tolist() == pytest.approx([2, 2], rel=1e-5)


def test_padding_changes_no_reward(model, inputs):
    pixel_values, input_ids, mask = inputs
    with torch.inference_mode():
        padded = model(pixel_values[1:], input_ids[1:], mask[1:])
        alone = model(pixel_values[1:], input_ids[1:, :2], mask[1:, :2])
        other = model(pixel_values[:1], input_ids[1:], mask[1:])
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-4)
    assert not torch.allclose(padded, other, rtol=0, atol=1e-2)  # the picture matters


def test_every_weight_of_the_published_layout_has_its_place(model):
    # BLIP's names, written out for one block of each kind; two projections give no reward.
    published = {
        "blip.visual_encoder.cls_token": "vision.embeddings.class_embedding",
        "blip.visual_encoder.pos_embed": "vision.embeddings.position_embedding",
        "blip.visual_encoder.patch_embed.proj.bias": "vision.embeddings.patch_embedding.bias",
        "blip.visual_encoder.blocks.1.norm2.weight": "vision.encoder.layers.1.layer_norm2.weight",
        "blip.visual_encoder.blocks.1.attn.qkv.bias": "vision.encoder.layers.1.self_attn.qkv.bias",
        "blip.visual_encoder.blocks.0.attn.proj.weight": (
            "vision.encoder.layers.0.self_attn.projection.weight"
        ),
        "blip.visual_encoder.blocks.0.mlp.fc1.bias": "vision.encoder.layers.0.mlp.fc1.bias",
        "blip.visual_encoder.norm.weight": "vision.post_layernorm.weight",
        "blip.text_encoder.embeddings.word_embeddings.weight": (
            "text.embeddings.word_embeddings.weight"
        ),
        "blip.text_encoder.encoder.layer.1.crossattention.self.key.bias": (
            "text.encoder.layer.1.crossattention.self.key.bias"
        ),
        "mlp.layers.7.bias": "head.7.bias",
    }
    unused = {
        "blip.vision_proj.weight": 0,
        "blip.text_proj.bias": 0,
        "blip.text_encoder.embeddings.position_ids": 0,
    }
    renamed = rename(dict.fromkeys([*published, *unused], torch.zeros(1)))
    assert list(renamed) == list(published.values())
    assert set(renamed) <= set(model.state_dict())
