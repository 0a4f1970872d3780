"""The tokenizer of the tiny base and of its scorer: CLIP's byte-level BPE, few merges.

Learned from the captions that the drawings come with. Any other text still has tokens, its bytes in
the worst case.
"""

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from stages.tiny.recipe import MAX_TOKENS, VOCABULARY_SIZE

START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer whose merges were learned from captions; `<|endoftext|>` has the highest id.

    open_clip's text tower takes its embedding at the highest id of a caption, hence the order.
    """
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    empty = CLIPTokenizer().backend_tokenizer
    learner.normalizer, learner.pre_tokenizer = empty.normalizer, empty.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - 2 - 256,
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # In an order of our own: the trainer numbers the letters differently at every call.
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocab = {token: index for index, token in enumerate([*dict.fromkeys(tokens), START, END])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)
