"""VQAScore (Lin et al. 2024): how sure a model is that the picture shows its prompt.

With InstructBLIP FlanT5-XL from plain transformers: it is one of the models of the paper, and the
package t2v_metrics pins an older torch and wants ffmpeg. Not comparable with VQAScores of other
models, such as CLIP-FlanT5-XXL.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F

from stages.scoring.metrics.metric import Origin
from stages.scoring.metrics.pretrained import Pretrained, Score

WEIGHTS = "Salesforce/instructblip-flan-t5-xl"
QUESTION = 'Question: Does this figure show "{}"? Please answer yes or no.'
ANSWER = "yes"  # InstructBLIP's spelling; then comes the end token
BATCH_SIZE = 8  # pictures at once: the model is large


def load(device: torch.device) -> Score:
    """Load the model through plain transformers; bfloat16 on a GPU, as in the reference code."""
    from transformers import (  # noqa: PLC0415 (seconds to import)
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
    )

    processor = InstructBlipProcessor.from_pretrained(WEIGHTS)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = InstructBlipForConditionalGeneration.from_pretrained(
        WEIGHTS, dtype=dtype, use_safetensors=True
    )
    return partial(score_pairs, model.eval().to(device), processor)


def score_pairs(
    model: Any, processor: Any, images: Sequence[Image.Image], prompts: Sequence[str]
) -> list[float]:
    """Probability of "yes" for each of B pictures and its own prompt (their eq. 1)."""
    scores: list[float] = []
    for start in range(0, len(images), BATCH_SIZE):
        questions = [QUESTION.format(prompt) for prompt in prompts[start : start + BATCH_SIZE]]
        inputs = processor(
            images=list(images[start : start + BATCH_SIZE]),
            text=questions,
            padding=True,
            return_tensors="pt",
        ).to(model.device, model.dtype)
        answers = processor.tokenizer([ANSWER] * len(questions), return_tensors="pt").input_ids
        answers = answers.to(model.device)  # (B, L): "yes" and the end token
        logits = model(**inputs, labels=answers).logits
        scores += average_likelihood(logits, answers).tolist()
    return scores


def average_likelihood(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Geometric mean of the probabilities of an answer's tokens: (B, L, V) and (B, L) -> (B,)."""
    losses = F.cross_entropy(logits.float().transpose(1, 2), answers, reduction="none")  # (B, L)
    return losses.mean(dim=1).neg().exp()


VQA_SCORE = Pretrained(
    name="vqa_score",
    label="VQAScore",
    direction="higher",
    scale='geometric mean of the probabilities of "yes" and the end token, 0 to 1',
    source="Lin et al. 2024, eq. 1 (arXiv 2404.01291), with InstructBLIP FlanT5-XL",
    origin=Origin(
        "InstructBLIP FlanT5-XL",
        WEIGHTS,
        "to 224 px square, bicubic; bfloat16 on a GPU",
    ),
    size="16 GB",
    files=((WEIGHTS, "config.json"),),
    load=load,
)
