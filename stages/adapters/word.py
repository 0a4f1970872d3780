"""Textual inversion (Gal et al. 2022): a new word is learned, and nothing else.

The word is one or more new tokens. Only their rows of the text encoder's input embedding are
trained, in float32, through the text encoder. Files are as `pipe.load_textual_inversion` reads
them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from stages.base.identity import check_fingerprint, fingerprint_weights
from stages.base.prompts import encode_batch
from stages.config.mistakes import UserError


class AddedRows(nn.Module):
    """The text encoder's input embedding, with rows of ours for tokens from `first_id` on."""

    def __init__(self, embedding: nn.Module, rows: Tensor, first_id: int) -> None:
        super().__init__()
        self.embedding, self.rows, self.first_id = embedding, rows, first_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed (B, L) ids to (B, L, D)."""
        known = self.embedding(input_ids.clamp(max=self.first_id - 1))
        added = self.rows[(input_ids - self.first_id).clamp(min=0)]
        return torch.where((input_ids >= self.first_id)[..., None], added, known)


class LearnedCaptions:
    """Captions with the new word, embedded anew at each step.

    A step's batches share one pass through the text encoder: they leave their gradients at the
    embeddings, from where `pass_gradients` takes them on to the word.
    """

    def __init__(
        self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: Sequence[str]
    ) -> None:
        self._tokenizer, self._text_encoder = tokenizer, text_encoder
        self._captions = list(captions)

    def embed(self) -> Tensor:
        """The embeddings (K, L, D) of the captions as they are now, on the CPU."""
        return encode_batch(self._tokenizer, self._text_encoder, self._captions)

    def embed_for_step(self) -> Tensor:
        """The same, as a leaf of the graph that the batches of a step are drawn from."""
        self._embeds = self.embed()
        self._leaf = self._embeds.detach().requires_grad_()
        return self._leaf

    def pass_gradients(self) -> None:
        """Take the gradients that the batches left on to the word, once."""
        self._embeds.backward(self._leaf.grad)
        self._leaf.grad = None


def name_tokens(placeholder: str, num_vectors: int) -> list[str]:
    """The tokens of a word of so many vectors, as diffusers names them."""
    return [placeholder, *(f"{placeholder}_{number}" for number in range(1, num_vectors))]


def spell(text: str, tokens: Sequence[str]) -> str:
    """The text with all tokens of the word, if any, where its first stands, as diffusers has it."""
    return text.replace(tokens[0], " ".join(tokens)) if tokens else text


def check_new(tokenizer: CLIPTokenizer, placeholder: str, num_vectors: int) -> None:
    """Refuse a word that is not new.

    Raises:
        UserError: One of its tokens is in the vocabulary.
    """
    vocabulary = tokenizer.get_vocab()
    for token in name_tokens(placeholder, num_vectors):
        if token in vocabulary or f"{token}</w>" in vocabulary:
            raise UserError(
                f"subject.placeholder: {token} is in the base's vocabulary already; should be a "
                "new word, such as <thing>"
            )


def find_initializer(
    tokenizer: CLIPTokenizer, placeholder: str, initializer: str, num_vectors: int
) -> int:
    """The id of the token that the word starts as.

    Raises:
        UserError: The word is not new, or it would start as several tokens.
    """
    check_new(tokenizer, placeholder, num_vectors)
    ids = tokenizer(initializer, add_special_tokens=False).input_ids
    if len(ids) != 1:
        tokens = " ".join(tokenizer.convert_ids_to_tokens(ids))
        raise UserError(
            f"subject.initializer: {initializer} is {len(ids)} tokens to the base ({tokens}); "
            "should be a word that is one"
        )
    return ids[0]


def start_rows(text_encoder: CLIPTextModel, initializer_id: int, num_vectors: int) -> nn.Parameter:
    """What is trained: copies (V, D) of the initializer's row, float32."""
    row = text_encoder.get_input_embeddings().weight[initializer_id].detach().float()
    return nn.Parameter(row.repeat(num_vectors, 1))


def add_word(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, tokens: Sequence[str], rows: Tensor
) -> None:
    """Teach both the word: its tokens, and the rows (V, D) that they are embedded by.

    Raises:
        UserError: The rows are not as many as the tokens, or of another width.
    """
    embedding = text_encoder.get_input_embeddings()
    expected = (len(tokens), embedding.weight.shape[1])
    if tuple(rows.shape) != expected:
        raise UserError(
            f"the word {tokens[0]} has rows of {tuple(rows.shape)}, the base's text encoder takes "
            f"{expected}; train again for this base"
        )
    first_id = len(tokenizer)
    for token in tokens:
        tokenizer.add_tokens(token)
    text_encoder.set_input_embeddings(AddedRows(embedding, rows, first_id))


def apply_word(
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    model: str,
) -> list[str]:
    """Teach the base, named `model`, the word of a checkpoint; returns the word's tokens.

    Raises:
        UserError: The text encoder is not the one that the word was learned with.
    """
    check_text_encoder(text_encoder, config, model)
    ((placeholder, rows),) = weights.items()
    tokens = name_tokens(placeholder, len(rows))
    add_word(tokenizer, text_encoder, tokens, rows.to(text_encoder.device))
    return tokens


def check_text_encoder(text_encoder: CLIPTextModel, config: Mapping[str, Any], model: str) -> None:
    """Refuse the text encoder of `model` unless the checkpoint's word was learned with it.

    Raises:
        UserError: It is another one.
    """
    found = fingerprint_weights(text_encoder)
    check_fingerprint(found, config["base"]["text_encoder"], model, "text encoder")
