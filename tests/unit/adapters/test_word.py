import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from stages.adapters.word import (
    LearnedCaptions,
    add_word,
    apply_word,
    find_initializer,
    name_tokens,
    spell,
    start_rows,
)
from stages.base.components import load_text_encoder, load_unet
from stages.base.identity import fingerprint_weights
from stages.base.prompts import encode_prompts
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from stages.training.batches import EncodedPairs
from stages.training.lesson import WordLesson
from stages.training.train import Training, build_training, measure_validation_loss, train
from tests.unit.conftest import as_lesson, build_finetune_params

CPU = torch.device("cpu")
CAPTIONS = ["", "a photo of a <thing>", "a <thing> on a wooden table"]


@pytest.fixture
def encoders(base: BaseParams) -> tuple[CLIPTokenizer, CLIPTextModel]:
    return load_text_encoder(base, CPU)


def test_a_word_starts_as_its_initializer(encoders: tuple[CLIPTokenizer, CLIPTextModel]) -> None:
    tokenizer, text_encoder = encoders
    expected = encode_prompts(tokenizer, text_encoder, ["a photo of a mug"])
    rows = start_rows(text_encoder, find_initializer(tokenizer, "<thing>", "mug", 1), 1)
    add_word(tokenizer, text_encoder, ["<thing>"], rows)
    assert torch.equal(encode_prompts(tokenizer, text_encoder, CAPTIONS[1:2]), expected)


def test_other_prompts_keep_their_bytes_whatever_the_word_is(
    encoders: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    tokenizer, text_encoder = encoders
    prompts = ["", "a photo of a cat", "a blue coffee mug on a wooden table"]
    before = encode_prompts(tokenizer, text_encoder, prompts)
    add_word(tokenizer, text_encoder, ["<thing>"], draw_rows(1))
    assert torch.equal(encode_prompts(tokenizer, text_encoder, prompts), before)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_plain_diffusers_reads_the_word_as_we_do(base: BaseParams, num_vectors: int) -> None:
    tokenizer, text_encoder = load_text_encoder(base, CPU)
    config = {"base": {"text_encoder": fingerprint_weights(text_encoder)}}
    rows = draw_rows(num_vectors)
    tokens = apply_word(tokenizer, text_encoder, {"<thing>": rows}, config, "here")
    ours = encode_prompts(tokenizer, text_encoder, [spell(CAPTIONS[2], tokens)])
    pipeline = StableDiffusionPipeline.from_pretrained(base.model)
    pipeline.load_textual_inversion({"<thing>": rows})
    theirs, _ = pipeline.encode_prompt(CAPTIONS[2], CPU, 1, do_classifier_free_guidance=False)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)  # float32 rounding
    assert theirs.shape == (1, 24, 16)
    assert len(tokens) == num_vectors


def test_only_the_word_learns_and_the_loss_falls(base: BaseParams, pairs: EncodedPairs) -> None:
    training, lesson, rows = start(base, pairs, learning_rate=5e-2, max_train_steps=12)
    encoder = lesson.captions._text_encoder
    frozen = {**state(training.model), **state(encoder.get_input_embeddings().embedding)}
    before = measure_validation_loss(training, lesson), rows.detach().clone()
    list(train(training, lesson))
    assert measure_validation_loss(training, lesson) < before[0]
    assert not torch.equal(rows, before[1])
    after = {**state(training.model), **state(encoder.get_input_embeddings().embedding)}
    assert all(torch.equal(frozen[name], weight) for name, weight in after.items())


def test_accumulated_batches_give_the_word_the_gradient_of_one(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    # A large epsilon: else Adam takes the sign of gradients that are rounding alone.
    words = []
    for size, count in ((4, 1), (1, 4)):
        training, lesson, rows = start(
            base,
            pairs,
            train_batch_size=size,
            gradient_accumulation_steps=count,
            max_train_steps=2,
            adam_epsilon=1e-3,
        )
        first = rows.detach().clone()
        list(train(training, lesson))
        words.append(rows.detach() - first)
    torch.testing.assert_close(*words, rtol=1e-3, atol=1e-6)  # sums in another order
    assert words[0].abs().max() > 1e-3


def test_a_steps_gradient_is_that_of_the_whole_graph(
    encoders: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    tokenizer, text_encoder = encoders
    rows = nn.Parameter(draw_rows(1))
    add_word(tokenizer, text_encoder, ["<thing>"], rows)
    captions = LearnedCaptions(tokenizer, text_encoder, CAPTIONS)
    captions.embed().square().sum().backward()
    expected = rows.grad.clone()
    for _ in range(2):  # fp16 takes a step again when it overflows
        rows.grad = None
        leaf = captions.embed_for_step()
        (0.25 * leaf.square().sum()).backward()
        (0.75 * leaf.square().sum()).backward()
        captions.pass_gradients()
        torch.testing.assert_close(rows.grad, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("placeholder", ["cat", "photo", "a"])
def test_a_word_that_is_not_new_is_refused(
    encoders: tuple[CLIPTokenizer, CLIPTextModel], placeholder: str
) -> None:
    with pytest.raises(UserError, match=rf"^subject.placeholder: {placeholder} is in the base's"):
        find_initializer(encoders[0], placeholder, "mug", 1)


def test_a_further_token_that_is_not_new_is_refused(
    encoders: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    encoders[0].add_tokens("<thing>_1")
    find_initializer(encoders[0], "<thing>", "mug", 1)
    with pytest.raises(UserError, match="<thing>_1 is in the base's vocabulary"):
        find_initializer(encoders[0], "<thing>", "mug", 2)


def test_an_initializer_of_several_tokens_is_refused_with_its_tokens(
    encoders: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    with pytest.raises(UserError, match=r"initializer: mugs is \d tokens to the base \(.*s</w>\)"):
        find_initializer(encoders[0], "<thing>", "mugs", 1)


def test_rows_of_another_width_are_refused(encoders: tuple[CLIPTokenizer, CLIPTextModel]) -> None:
    with pytest.raises(UserError, match=r"<thing> has rows of \(1, 9\), .* takes \(1, 16\)"):
        add_word(*encoders, ["<thing>"], torch.zeros(1, 9))


def test_a_word_of_another_text_encoder_is_refused(
    encoders: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    config = {"base": {"text_encoder": "0" * 64}}
    with pytest.raises(UserError, match="another base than here"):
        apply_word(*encoders, {"<thing>": draw_rows(1)}, config, "here")


def test_a_word_of_several_vectors_is_spelled_with_all_of_its_tokens() -> None:
    tokens = name_tokens("<thing>", 3)
    assert tokens == ["<thing>", "<thing>_1", "<thing>_2"]
    assert spell("a <thing> here", tokens) == "a <thing> <thing>_1 <thing>_2 here"


def start(
    base: BaseParams, pairs: EncodedPairs, **changes: object
) -> tuple[Training, WordLesson, nn.Parameter]:
    tokenizer, text_encoder = load_text_encoder(base, CPU)
    rows = start_rows(text_encoder, find_initializer(tokenizer, "<thing>", "mug", 1), 1)
    add_word(tokenizer, text_encoder, ["<thing>"], rows)
    params = build_finetune_params(method="textual_inversion", **changes)
    training = build_training(
        load_unet(base),
        {"<thing>": rows},
        params,
        params.learning_rate,
        "fp32",
    )
    captions = LearnedCaptions(tokenizer, text_encoder, CAPTIONS)
    return training, WordLesson(**vars(as_lesson(training, pairs)), captions=captions), rows


def draw_rows(num_vectors: int) -> Tensor:
    return torch.randn(num_vectors, 16, generator=torch.Generator().manual_seed(1))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}
