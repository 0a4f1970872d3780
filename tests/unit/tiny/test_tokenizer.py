import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import AutoTokenizer, CLIPTokenizer

from stages.tiny.recipe import MAX_TOKENS, VOCABULARY_SIZE
from stages.tiny.tokenizer import END, START, build_tokenizer

CAPTIONS = [f"a {colour} {thing}" for colour in ("red", "blue") for thing in ("cat", "ship", "mug")]
HARD_TEXTS = ["", "naïve café", "日本語", "🚢🐸", "\x00\x7f", "it's 42%!", "a\tb\nc", "ÀÉÎ"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(CAPTIONS)


def test_end_token_has_the_highest_id_and_start_the_one_below(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(tokenizer)))
    assert vocabulary[END] == len(tokenizer) - 1 == tokenizer.eos_token_id
    assert vocabulary[START] == len(tokenizer) - 2 == tokenizer.bos_token_id


def test_vocabulary_is_within_the_planned_size(tokenizer):
    assert len(tokenizer) <= VOCABULARY_SIZE


def test_same_captions_give_the_same_tokenizer(tokenizer):
    assert build_tokenizer(CAPTIONS).get_vocab() == tokenizer.get_vocab()


def test_learned_words_are_single_tokens(tokenizer):
    assert tokenizer.tokenize("a red cat") == ["a</w>", "red</w>", "cat</w>"]


def test_text_is_framed_cut_and_padded(tokenizer):
    ids = tokenizer("cat " * 100, padding="max_length", truncation=True).input_ids
    assert len(ids) == MAX_TOKENS
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    ids = tokenizer("a red cat", padding="max_length", truncation=True).input_ids
    assert len(ids) == MAX_TOKENS
    assert ids[4:] == [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (MAX_TOKENS - 5)


@pytest.mark.parametrize("loader", [CLIPTokenizer, AutoTokenizer])
def test_saved_tokenizer_loads_as_the_same(loader, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(loaded, CLIPTokenizer)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.model_max_length == MAX_TOKENS
    options = {"padding": "max_length", "truncation": True}
    for text in [*CAPTIONS, *HARD_TEXTS, "cat " * 100]:
        assert loaded(text, **options).input_ids == tokenizer(text, **options).input_ids


def assert_bytes_survive(tokenizer, text):
    """No unknown token (it would be `END` within the text), and no byte that vanishes."""
    ids = tokenizer(text).input_ids
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids[1:-1])
    tokens = [token.removesuffix("</w>") for token in tokenizer.convert_ids_to_tokens(ids[1:-1])]
    normalised = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert ByteLevel().decode(tokens) == normalised.replace(" ", "")


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_hard_text_has_tokens(tokenizer, text):
    assert_bytes_survive(tokenizer, text)


# Surrogates are no text, and the names of the two special tokens stand for these. Hypothesis draws
# literals of the modules that are loaded, so it meets the names in some runs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: START not in text and END not in text
)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(TEXTS)
def test_any_text_has_tokens(tokenizer, text):
    assert_bytes_survive(tokenizer, text)


def test_every_byte_is_a_token_within_and_at_the_end_of_a_word(tokenizer):
    letters = set(pre_tokenizers.ByteLevel.alphabet())
    assert len(letters) == 256
    assert letters | {f"{letter}</w>" for letter in letters} <= set(tokenizer.get_vocab())
