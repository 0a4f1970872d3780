"""The scorer and the guide: open_clip models, trained on both looks and, where given, photographs.

A small residual network with CLIP's attention pooling for pictures, a transformer for text. Nothing
of it is shared with the generator but the tokenizer. The two differ in their seed: of the weights
before training, and of the pictures in each batch.
"""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from stages.config.params import FinetuneParams
from stages.tiny import recipe
from stages.tiny.denoiser import tokenize
from stages.tiny.drawings import Mixture
from stages.tiny.lesson import DEVICE, autocast, train_part

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def build_config(tokenizer: CLIPTokenizer, folder: Path) -> dict:
    """open_clip's configuration of a scorer that lies in `folder`."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": recipe.IMAGE_SIZE_PX,
                "layers": [1, 1, 1, 1],
                "width": 16,
                "head_width": 64,
            },
            "text_cfg": {
                "context_length": recipe.MAX_TOKENS,
                "vocab_size": len(tokenizer),
                "hf_tokenizer_name": str(folder),
                "width": 128,
                "heads": 4,
                "layers": 2,
            },
        },
        "preprocess_cfg": {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic"},
    }


def train_scorer(
    name: str, plan: FinetuneParams, mixture: Mixture, tokenizer: CLIPTokenizer
) -> open_clip.CLIP:
    """Train contrastively on captioned pictures; `name` is its checkpoint's."""
    torch.manual_seed(plan.seed)
    model = open_clip.CLIP(**build_config(tokenizer, recipe.SCORER)["model_cfg"])
    ids = tokenize(tokenizer, mixture.captions)

    def compute_loss(generator: torch.Generator) -> Tensor:
        pixel_values, rows = mixture.draw(plan.train_batch_size, generator)
        pixel_values = augment(pixel_values, generator).to(memory_format=torch.channels_last)
        with autocast():
            image_embeds = model.encode_image(pixel_values.to(DEVICE))
            text_embeds = model.encode_text(ids[rows].to(DEVICE))
        return contrast(image_embeds.float(), text_embeds.float(), model.logit_scale.exp())

    train_part(name, plan, model, compute_loss)
    return model


def contrast(image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric contrastive loss of B pairs, (B, E) each (Radford et al. 2021, figure 3).

    Captions that occur twice in a batch need no care: equal texts have equal embeds, so to share
    the target among them changes neither the loss nor its gradient.
    """
    image_embeds, text_embeds = F.normalize(image_embeds, dim=-1), F.normalize(text_embeds, dim=-1)
    logits = logit_scale.clamp(max=100) * image_embeds @ text_embeds.T  # (B, B)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def augment(pixel_values: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the pictures, shift all by up to 4 px, change light and colour a little."""
    batch_size = len(pixel_values)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        unit = torch.rand(batch_size, *shape, generator=generator)
        return (low + (high - low) * unit).to(pixel_values)

    flip = draw(-1, 1, 1, 1, 1) < 0
    pixel_values = torch.where(flip, pixel_values.flip(-1), pixel_values)
    dx, dy = torch.randint(-4, 5, (2,), generator=generator).tolist()
    pixel_values = F.pad(pixel_values, (4,) * 4, mode="replicate")
    size = recipe.IMAGE_SIZE_PX
    pixel_values = pixel_values[:, :, 4 + dy : 4 + dy + size, 4 + dx : 4 + dx + size]
    noise = torch.randn(pixel_values.shape, generator=generator).to(pixel_values)
    pixel_values = pixel_values * draw(0.85, 1.1, 3, 1, 1) + draw(-0.08, 0.08, 1, 1, 1)
    return (pixel_values + noise * draw(0, 0.06, 1, 1, 1)).clamp(-1, 1)


def save_scorer(model: nn.Module, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write config, float16 weights and tokenizer in the layout of open_clip's `local-dir:`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = build_config(tokenizer, folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: value.contiguous() for name, value in model.cpu().half().state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)
