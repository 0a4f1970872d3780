"""Sampled pictures of a variant -> data/scores/V.csv, a row a picture.

Also data/scores/V.safetensors, their embeds, and V.json, what is known of each metric. Black, flat
and non-finite pictures are scored like all others, never dropped.
"""

import logging
import math
import sys
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.notation import format_count
from stages.config.params import Params, ScoreParams, load_params
from stages.files.captions import fill_template
from stages.files.embeds import PairEmbeds, read_pair_embeds, write_image_embeds
from stages.files.facts import write_facts
from stages.files.images import decode_image
from stages.files.pictures import LazyColumn, find_samples_schema, read_rows
from stages.files.tables import SCORES_SCHEMA, write_table
from stages.run.entry import run_stage
from stages.run.processes import (
    collect,
    count_processes,
    get_rank,
    is_main_process,
    join_processes,
)
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.metrics.guide import GUIDE_COSINE
from stages.scoring.metrics.metric import Batch, Context, Metric, Origin
from stages.scoring.metrics.registry import (
    COMPANIONS,
    METRICS,
    describe_metrics,
    list_absent,
    load_extra_metrics,
)
from stages.scoring.metrics.training import SUBJECT_SIMILARITY
from stages.scoring.scorer import Scorer, describe_preprocessing, load_scorer

logger = logging.getLogger(__name__)

ABSENT = {"float64": math.nan, "str": "", "bool": False}
"""What a column holds, by its kind, that is not measured: no metric's name is in the facts then."""


def main(variant: str) -> None:
    """Score the pictures of `baseline` or `finetuned`."""
    if variant not in paths.VARIANTS:
        raise UserError(f"no variant {variant!r}; there are {' and '.join(paths.VARIANTS)}")
    params = load_params()
    base = params.chosen
    join_processes()
    path = paths.SAMPLES[variant]
    samples = read_rows(path, find_samples_schema(path), "sample")
    pictures = LazyColumn(path)

    scorer = load_scorer(base.scorer, base.scorer_pretrained, base.scorer_revision)
    context = embed_context(scorer, samples, read_pair_embeds(paths.IMAGE_EMBEDS), params)
    absent = list_absent(samples["class"].ne("").any(), len(context.training_ids) > 0)
    metrics = [metric for metric in METRICS if metric.name not in absent]
    metrics += [SUBJECT_SIMILARITY] if len(context.subject_embeds) else []
    metrics += [GUIDE_COSINE] if "guide_cosine" in samples else []
    metrics += load_extra_metrics(params.score.extra_metrics, scorer.device)
    scored = score_images(pictures, samples, scorer, metrics, context, absent, params.score)
    if not is_main_process():
        return

    scores, image_embeds = scored
    write_table(scores, paths.SCORES[variant])
    write_image_embeds(paths.SAMPLE_EMBEDS[variant], image_embeds)
    origin = Origin(scorer.name, scorer.weights, describe_preprocessing(scorer))
    write_facts(describe_metrics(metrics, origin, absent), paths.FACTS[variant])
    logger.info("%s: %d pictures scored", variant, len(scores))


def embed_context(
    scorer: Scorer, samples: pd.DataFrame, pairs: PairEmbeds, params: Params
) -> Context:
    """Embed class texts and distinct prompts; put the training pictures beside them.

    Zero-shot classification chooses among the trained classes and those of further prompts.
    """
    named = samples["class"][samples["class"] != ""]
    classes = list(dict.fromkeys([*params.prepare.classes, *named]))
    texts = [fill_template(params.score.zero_shot_template, name) for name in classes]
    class_embeds = embed_texts(scorer, texts)
    if len(pairs.rows) and class_embeds.shape[1] != pairs.image_embeds.shape[1]:
        raise UserError(f"{paths.IMAGE_EMBEDS}: of another scorer; run `dvc repro embed`")
    training = pairs.select("train")
    places = {name: place for place, name in enumerate(params.prepare.classes)}
    distinct = samples["prompt"].unique()
    text_embeds = dict(zip(distinct, embed_texts(scorer, list(distinct)), strict=True))
    return Context(
        classes=classes,
        class_embeds=class_embeds,
        text_embeds=text_embeds,
        prompt_embeds={
            name: torch.stack([text_embeds[prompt] for prompt in prompts.unique()])
            for name, prompts in samples.groupby("set")["prompt"]
        },
        training_ids=training.rows["source_id"].tolist(),
        training_embeds=torch.from_numpy(training.image_embeds),
        training_classes=torch.tensor([places.get(name, -1) for name in training.rows["class"]]),
        subject_embeds=torch.from_numpy(pairs.select("subject_held_out").image_embeds),
        dino_embeds=None if pairs.dino_embeds is None else torch.from_numpy(pairs.dino_embeds),
    )


def score_images(
    pictures: LazyColumn,
    samples: pd.DataFrame,
    scorer: Scorer,
    metrics: Sequence[Metric],
    context: Context,
    absent: Collection[str],
    params: ScoreParams,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """A row of scores for each of N samples, read a batch at a time, and their embeds (N, E)."""
    columns = {metric.column: metric.compute for metric in metrics}
    columns |= {name: compute for name, compute in COMPANIONS.items() if name not in absent}
    starts = range(0, len(samples), params.batch_size)
    parts = []
    for start in starts[get_rank() :: count_processes()]:
        batch = read_batch(pictures, samples[start : start + params.batch_size], scorer, context)
        values = {column: compute(batch, context) for column, compute in columns.items()}
        parts.append((start, values, batch.image_embeds))
    parts = sorted(collect(parts), key=lambda part: part[0])
    scores = samples.assign(
        **{column: [v for _, values, _ in parts for v in values[column]] for column in columns}
    )
    check_finite(scores, [metric.column for metric in metrics])
    scores = scores.assign(
        is_black=scores["brightness"] < params.black_brightness,
        is_flat=scores["contrast"] < params.flat_contrast,
        is_duplicate=scores["pixel_digest"].duplicated(),
    )
    missing = {name: ABSENT[kind] for name, kind in SCORES_SCHEMA.items() if name not in scores}
    extra = [metric.column for metric in metrics if metric.column not in SCORES_SCHEMA]
    return scores.assign(**missing)[[*SCORES_SCHEMA, *extra]], torch.cat(
        [embeds for _, _, embeds in parts]
    ).numpy()


def read_batch(
    pictures: LazyColumn, samples: pd.DataFrame, scorer: Scorer, context: Context
) -> Batch:
    """Decode and embed B pictures, whose rows in the table are the index of `samples`."""
    images = [decode_image(pictures[row], name) for row, name in samples["file_name"].items()]
    return Batch(
        samples=samples,
        images=images,
        image_embeds=embed_images(scorer, images),
        text_embeds=torch.stack([context.text_embeds[prompt] for prompt in samples["prompt"]]),
    )


def check_finite(scores: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a score that is no number: its mean would hide it."""
    for column in columns:
        broken = scores[~np.isfinite(scores[column].astype(float))]
        if len(broken):
            raise FloatingPointError(
                f"{column} is not finite for {format_count(len(broken), 'picture')}, "
                f"{broken.iloc[0]['file_name']} first; the weights of its model are bad"
            )


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
