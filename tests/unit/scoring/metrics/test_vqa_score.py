import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BatchFeature,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    T5Config,
)

from stages.scoring.metrics.vqa_score import average_likelihood, score_pairs
from tests.tiny import SMALL_TRANSFORMER

IMAGE_TOKEN, NUM_QUERY_TOKENS, VOCABULARY_SIZE = 90, 4, 100
YES, END = 7, 1


class Processor:
    """Stands in for InstructBLIP's: a character is a token, questions are padded on the right."""

    def __call__(self, images, text, padding, return_tensors):
        assert padding
        assert return_tensors == "pt"
        ids = [[2 + ord(letter) % 80 for letter in question] for question in text]
        width = max(map(len, ids))
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        queries = torch.full((len(ids), NUM_QUERY_TOKENS), IMAGE_TOKEN)
        pixels = [np.asarray(image.resize((32, 32)), np.float32) / 255 for image in images]
        return BatchFeature(
            {
                "pixel_values": torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2),
                "qformer_input_ids": padded,
                "qformer_attention_mask": mask,
                "input_ids": torch.cat([queries, padded], dim=1),
                "attention_mask": torch.cat([torch.ones_like(queries), mask], dim=1),
            }
        )

    @staticmethod
    def tokenizer(texts, return_tensors):
        assert set(texts) == {"yes"}
        assert return_tensors == "pt"
        return SimpleNamespace(input_ids=torch.tensor([[YES, END]] * len(texts)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    text = T5Config(
        vocab_size=VOCABULARY_SIZE,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
    )
    config = InstructBlipConfig(
        vision_config=SMALL_TRANSFORMER | {"image_size": 32, "patch_size": 8},
        qformer_config=SMALL_TRANSFORMER
        | {"vocab_size": VOCABULARY_SIZE, "encoder_hidden_size": 16},
        text_config=text.to_dict(),
        num_query_tokens=NUM_QUERY_TOKENS,
        image_token_index=IMAGE_TOKEN,
    )
    model = InstructBlipForConditionalGeneration(config).eval()
    for parameter in model.parameters():  # as initialised, all answers are nearly equally likely
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def test_a_score_is_how_likely_the_decoder_is_to_say_yes_and_end(model):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(3)]
    prompts = ["a cat", "a much longer prompt of a dog", "a cat"]
    with torch.inference_mode():
        scores = score_pairs(model, Processor(), images, prompts)
        for image, prompt, score in zip(images, prompts, scores, strict=True):
            question = f'Question: Does this figure show "{prompt}"? Please answer yes or no.'
            inputs = Processor()([image], [question], padding=True, return_tensors="pt")
            start = torch.tensor([[0, YES]])  # T5 starts from its pad token
            probabilities = model(**inputs, decoder_input_ids=start).logits[0].softmax(dim=-1)
            expected = (probabilities[0, YES] * probabilities[1, END]) ** 0.5
            assert score == pytest.approx(float(expected), rel=1e-4)
    assert scores[0] != pytest.approx(scores[2], rel=3e-4)  # the picture matters


def test_it_is_the_geometric_mean_of_the_answers_tokens():
    # Two tokens of probability 1/2 and 1/8 of a vocabulary of three: sqrt(1/16).
    logits = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]]).log()
    likelihood = average_likelihood(logits, torch.tensor([[0, 1]]))
    assert likelihood.tolist() == pytest.approx([math.sqrt(1 / 2 * 1 / 8)])


def test_it_is_the_reference_codes_exponential_of_minus_the_mean_loss():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 2, 10, generator=generator)
    answers = torch.tensor([[3, 1]] * 4)
    expected = [
        float((-torch.nn.CrossEntropyLoss()(logits[k], answers[k])).exp()) for k in range(4)
    ]
    assert average_likelihood(logits, answers).tolist() == pytest.approx(expected)
