"""What models/finetuned/ holds, put back into the base at a strength: W + strength * dW."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.adapters.hydra_lora import scale_experts
from stages.adapters.imported import apply_imported
from stages.adapters.methods import apply_weights
from stages.adapters.word import apply_word, check_text_encoder
from stages.base.components import Models
from stages.base.identity import check_fingerprint
from stages.config.mistakes import UserError
from stages.config.params import FinetuneParams


def learns_word(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config says that it is a new word, and nothing else."""
    return config["method"] == "textual_inversion" or config.get("kind") == "word"


def apply_finetuned(
    models: Models,
    fingerprint: str,
    weights: dict[str, Tensor],
    config: Mapping[str, Any],
    model: str,
    strength: float,
) -> list[str]:
    """Put a checkpoint into the base, named `model`, in place.

    Args:
        models: The base's; what the checkpoint does not change stays as it is.
        fingerprint: Of the U-Net; it takes seconds, and a caller may know it.
        weights: Of the checkpoint.
        config: Of the checkpoint.
        model: For messages.
        strength: 1 is as trained; at 0 not a bit of the base changes.

    Returns:
        The tokens of the new word; none if it is not one.

    Raises:
        UserError: The base is not the one that the weights fit.
        UserError: A new word has no strength but 1.
    """
    check_fingerprint(fingerprint, config["base"]["fingerprint"], model)
    if learns_word(config):
        if strength != 1:
            raise UserError(
                f"import.strength: found {strength:g}; should be 1 for a new word: it changes "
                "nothing of the base that could be scaled"
            )
        return apply_word(models.tokenizer, models.text_encoder, weights, config, model)
    if config["method"] == "import":
        check_text_encoder(models.text_encoder, config, model)
        if strength != 0:
            apply_imported(config["kind"], weights, models, strength)
    elif strength != 0:
        params = FinetuneParams.model_validate(config["finetune"])
        unet = models.unet
        if params.method == "hydra_lora":  # its dW is no weight
            weights, strength = scale_experts(weights, strength), 1
        before = {n: w.clone() for n, w in unet.state_dict().items()} if strength != 1 else {}
        apply_weights(unet, weights, params)
        state = unet.state_dict()
        with torch.no_grad():
            for name, weight in before.items():
                state[name].copy_(weight.lerp(state[name], strength))
    return []
