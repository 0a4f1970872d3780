"""ImageReward (Xu et al. 2023): BLIP large with a small head, trained on people's rankings.

Built from transformers' BLIP, since the package image-reward pins releases of timm and fairscale
that do not go with the pinned transformers. Its checkpoint is not safetensors: it is read with
`weights_only=True`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from open_clip import image_transform
from PIL import Image
from torch import Tensor, nn

from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.pretrained import Pretrained, Score, load_weights

REPOSITORY, FILE = "THUDM/ImageReward", "ImageReward.pt"
TOKENIZER = "bert-base-uncased"
MAX_TOKENS = 35
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the raw reward, in their ImageReward.py

RENAMED = (  # BLIP's names of the weights -> transformers'
    (r"^blip\.visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^blip\.visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^blip\.visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^blip\.visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^blip\.visual_encoder\.blocks\.", "vision.encoder.layers."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"^blip\.text_encoder\.", "text."),
    (r"^mlp\.layers\.", "head."),
)
UNUSED = re.compile(r"^blip\.(vision_proj|text_proj)\.|position_ids$")


class RewardModel(nn.Module):
    """A picture's tokens into BLIP's text encoder; its first token into five linear layers."""

    def __init__(self, vision: Any, text: Any) -> None:
        """Build it from the configs of transformers' BlipVisionModel and BlipTextModel."""
        from transformers.models.blip import modeling_blip, modeling_blip_text  # noqa: PLC0415

        super().__init__()
        self.vision = modeling_blip.BlipVisionModel(vision)
        self.text = modeling_blip_text.BlipTextModel(text, add_pooling_layer=False)
        sizes = pairwise((text.hidden_size, 1024, 128, 64, 16, 1))
        places = ("0", "2", "4", "6", "7")  # dropout stands between them in training
        layers = [nn.Linear(*size) for size in sizes]
        self.head = nn.ModuleDict(dict(zip(places, layers, strict=True)))

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Rewards (B,) of pictures (B, 3, H, W) and prompts (B, L), mean 0 and deviation 1."""
        image_tokens = self.vision(pixel_values=pixel_values).last_hidden_state  # (B, K, D)
        hidden = self.text(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=image_tokens,
            encoder_attention_mask=torch.ones_like(image_tokens[..., 0], dtype=torch.long),
            is_decoder=False,
        ).last_hidden_state[:, 0]  # (B, D)
        for layer in self.head.values():
            hidden = layer(hidden)
        return (hidden[:, 0] - MEAN) / STD


def load(device: torch.device) -> Score:
    """Build the model with the weights that ImageReward published."""
    from transformers import AutoTokenizer, BlipTextConfig, BlipVisionConfig  # noqa: PLC0415

    vision = BlipVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        layer_norm_eps=1e-6,
    )
    text = BlipTextConfig(encoder_hidden_size=vision.hidden_size, num_attention_heads=12)
    model = RewardModel(vision, text)
    model.load_state_dict(rename(load_weights(REPOSITORY, FILE)))
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    return partial(score_pairs, model.eval().to(device), tokenizer, device)


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of `RewardModel`, without those that give no reward."""
    renamed = {}
    for name, tensor in weights.items():
        if not UNUSED.search(name):
            for pattern, replacement in RENAMED:
                name = re.sub(pattern, replacement, name)  # noqa: PLW2901
            renamed[name] = tensor
    return renamed


def score_pairs(
    model: RewardModel,
    tokenizer: Any,
    device: torch.device,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
) -> list[float]:
    """The reward of each of B pictures and its own prompt."""
    # Shortest side to S, bicubic, middle square, CLIP's mean and deviation.
    side_px = model.vision.config.image_size
    preprocess = image_transform(side_px, is_train=False, interpolation="bicubic")
    pixel_values = torch.stack([preprocess(image) for image in images])
    tokens = tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=MAX_TOKENS,
        return_tensors="pt",
    )
    return model(
        pixel_values.to(device), tokens.input_ids.to(device), tokens.attention_mask.to(device)
    ).tolist()


IMAGE_REWARD = Pretrained(
    name="image_reward",
    label="ImageReward",
    direction="higher",
    scale="reward, mean 0 and standard deviation 1 over their training pictures",
    source="Xu et al. 2023 (arXiv 2304.05977)",
    origin=Origin(
        "BLIP large",
        f"{REPOSITORY}/{FILE}",
        "shortest side to 224 px, bicubic, middle square; prompt cut at 35 tokens",
    ),
    size="1.8 GB",
    files=((REPOSITORY, FILE), (TOKENIZER, "tokenizer_config.json")),
    load=load,
)
