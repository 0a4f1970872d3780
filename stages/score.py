"""Sampled pictures of a variant -> data/scores/V.csv, a row a picture, and metrics/V.json.

Black, flat and non-finite pictures are scored and counted like all others, never dropped.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from stages.artifacts.captions import fill_template
from stages.artifacts.images import decode_image
from stages.artifacts.tables import SCORES_SCHEMA, read_samples, write_json, write_table
from stages.config import paths
from stages.config.entry import run_stage
from stages.config.params import Params, ScoreParams, load_params
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.metrics import (
    compute_clip_cosine,
    measure_brightness,
    measure_contrast,
    predict_classes,
)
from stages.scoring.scorer import Scorer, load_scorer

logger = logging.getLogger(__name__)


def main(variant: str) -> None:
    """Score the pictures of `baseline` or `finetuned`."""
    if variant not in paths.VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {' and '.join(paths.VARIANTS)}")
    params = load_params()
    samples = read_samples(paths.SAMPLES / variant)
    files = [_find_picture(variant, name) for name in samples["file_name"]]

    scorer = load_scorer(params.chosen.scorer, params.chosen.scorer_pretrained)
    scores = score_images(scorer, samples, files, list_classes(params), params.score)

    write_table(scores, paths.SCORES / f"{variant}.csv")
    write_json(summarise_scores(scores), paths.METRICS / f"{variant}.json")
    logger.info("%s: %d pictures scored", variant, len(scores))


def list_classes(params: Params) -> list[str]:
    """The classes among which zero-shot classification chooses: trained ones, then marketing."""
    marketing = (row.class_name for row in params.prompts.marketing)
    return list(dict.fromkeys([*params.prepare.classes, *marketing]))


def score_images(
    scorer: Scorer,
    samples: pd.DataFrame,
    files: Sequence[Path],
    classes: Sequence[str],
    params: ScoreParams,
) -> pd.DataFrame:
    """A row of scores for each of N samples; their files are read a batch at a time."""
    batches, brightness, contrast = [], [], []
    for start in range(0, len(files), params.batch_size):
        paths_of_batch = files[start : start + params.batch_size]
        images = [decode_image(path.read_bytes(), str(path)) for path in paths_of_batch]
        batches.append(embed_images(scorer, images))
        brightness += [measure_brightness(image) for image in images]
        contrast += [measure_contrast(image) for image in images]
    image_embeds = torch.cat(batches)  # (N, E)
    text_embeds = _embed_prompts(scorer, samples["prompt"])  # (N, E)
    class_texts = [fill_template(params.zero_shot_template, name) for name in classes]
    predicted = predict_classes(image_embeds, embed_texts(scorer, class_texts))  # (N,)

    scores = samples.assign(
        clip_cosine=compute_clip_cosine(image_embeds, text_embeds).double().numpy(),
        predicted_class=[classes[index] for index in predicted],
        brightness=brightness,
        contrast=contrast,
    )
    return scores.assign(
        is_correct=scores["predicted_class"] == scores["class"],
        is_black=scores["brightness"] < params.black_brightness,
        is_flat=scores["contrast"] < params.flat_contrast,
    )[list(SCORES_SCHEMA)]


def summarise_scores(scores: pd.DataFrame) -> dict[str, float | int]:
    """Means by set, over prompts of the same number of pictures, and the counts of bad pictures."""
    sets = scores.groupby("set", sort=True)
    cosines, accuracies = sets["clip_cosine"].mean(), sets["is_correct"].mean()
    return {
        **{f"clip_cosine_{name}": float(mean) for name, mean in cosines.items()},
        **{f"zero_shot_accuracy_{name}": float(mean) for name, mean in accuracies.items()},
        "num_images": len(scores),
        "num_black": int(scores["is_black"].sum()),
        "num_flat": int(scores["is_flat"].sum()),
        "num_non_finite": int((~scores["is_finite"]).sum()),
    }


def _embed_prompts(scorer: Scorer, prompts: pd.Series) -> torch.Tensor:
    rows, distinct = pd.factorize(prompts)
    return embed_texts(scorer, list(distinct))[rows]


def _find_picture(variant: str, file_name: str) -> Path:
    path = paths.SAMPLES / variant / file_name
    if not path.is_file():
        raise FileNotFoundError(f"no picture {path}; run `dvc repro -f sample@{variant}`")
    return path


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
