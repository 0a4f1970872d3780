import math

import pytest
import torch

from stages.scoring.metrics.vqa_score import average_likelihood


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
