import torch
from diffusers import StableDiffusionPipeline

from stages.base.components import load_text_encoder
from stages.base.prompts import encode_prompts, find_cut_text
from stages.config.params import BaseParams
from tests.tiny import MAX_TOKENS, TEXT_WIDTH

CPU = torch.device("cpu")
PROMPTS = ["", "a photo of a cat", "a stack of chocolate cookies on a wooden table"]


def test_embeddings_are_the_pipelines(base: BaseParams) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base.model, use_safetensors=True)
    expected, _ = pipeline.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=False)
    found = encode_prompts(*load_text_encoder(base, CPU), PROMPTS)
    assert found.shape == (3, MAX_TOKENS, TEXT_WIDTH)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_prompt_that_fits_is_not_cut(base: BaseParams) -> None:
    tokenizer, _ = load_text_encoder(base, CPU)
    fits = " ".join(["cat"] * (MAX_TOKENS - 2))  # the rest is for start and end
    assert find_cut_text(tokenizer, fits) == ""
    assert find_cut_text(tokenizer, "") == ""


def test_the_cut_end_of_a_prompt_is_found(base: BaseParams) -> None:
    tokenizer, _ = load_text_encoder(base, CPU)
    prompt = " ".join(["cat"] * (MAX_TOKENS - 2) + ["red", "dog"])
    assert find_cut_text(tokenizer, prompt) == "red dog"


def test_what_is_cut_does_not_change_the_embedding(base: BaseParams) -> None:
    fits = " ".join(["cat"] * (MAX_TOKENS - 2))
    found = encode_prompts(*load_text_encoder(base, CPU), [fits, f"{fits} red dog"])
    torch.testing.assert_close(found[0], found[1])
