"""Prompt strings to prompt embeddings, as StableDiffusionPipeline makes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from stages.files.tensors import map_tensor

BATCH_SIZE = 64


def encode_distinct(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, prompts: Iterable[str], folder: Path
) -> tuple[list[str], Tensor]:
    """The empty prompt and each distinct prompt, K in all, and their embeddings, (K, L, D).

    These lie in a file in `folder`, as they may be larger than the memory.
    """
    distinct = list_distinct(prompts)
    shape = (len(distinct), tokenizer.model_max_length, text_encoder.config.hidden_size)
    embeds = map_tensor(folder / "prompt_embeds", shape)
    for first in range(0, len(distinct), BATCH_SIZE):
        rows = slice(first, first + BATCH_SIZE)
        embeds[rows] = encode_prompts(tokenizer, text_encoder, distinct[rows])
    return distinct, embeds


def list_distinct(prompts: Iterable[str]) -> list[str]:
    """The empty prompt, then each distinct one."""
    return list(dict.fromkeys(["", *prompts]))


@torch.inference_mode()
def encode_prompts(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, prompts: Sequence[str]
) -> Tensor:
    """Last hidden states of the text encoder.

    Args:
        tokenizer: Pads and cuts to its `model_max_length`, L.
        text_encoder: Frozen, in eval mode.
        prompts: K texts; "" gives the unconditional embedding.

    Returns:
        Embeddings (K, L, D) on the CPU.
    """
    batches = [prompts[i : i + BATCH_SIZE] for i in range(0, len(prompts), BATCH_SIZE)]
    return torch.cat([encode_batch(tokenizer, text_encoder, batch) for batch in batches])


def find_cut_text(tokenizer: CLIPTokenizer, prompt: str) -> str:
    """The end of a prompt that the text encoder does not see; "" if it sees all."""
    input_ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    kept = tokenizer.model_max_length - 1  # the last place is the end token's
    return tokenizer.decode(input_ids[kept:-1]).strip() if len(input_ids) > kept + 1 else ""


def encode_batch(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, prompts: Sequence[str]
) -> Tensor:
    """As `encode_prompts`, all prompts at once; gradients flow through it."""
    tokens = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).to(text_encoder.device)
    # v1.5's text encoder was trained without a padding mask; the pipeline asks the config, too.
    mask = tokens.attention_mask if getattr(text_encoder.config, "use_attention_mask", 0) else None
    return text_encoder(tokens.input_ids, attention_mask=mask)[0].float().cpu()  # (K, L, D)
