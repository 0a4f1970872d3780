"""Two score tables -> metrics/comparison.json and the tables in plots/.

Reads what `score` wrote for both variants, and the embeds of the training pictures; writes paired
differences, finetuned - baseline, by set, class, prompt and metric, and where metrics disagree.
Needs neither a model nor an accelerator.
"""

import logging

import pandas as pd

from stages.analysis.agreement import correlate_metrics, find_disagreements
from stages.analysis.collapse import count_bad, count_collapse, word_collapse
from stages.analysis.forgetting import weigh_forgetting
from stages.analysis.metrics import list_metrics
from stages.analysis.paired import (
    average_metrics,
    average_per_prompt,
    pair_metrics,
    pair_scores,
)
from stages.analysis.set_metrics import compare_distances, compare_diversity, pair_embeds
from stages.analysis.tables import (
    compare_classes,
    compare_metrics,
    compare_prompts,
    compare_sets,
    summarise,
)
from stages.analysis.verdict import word_verdict
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import CompareParams, load_params
from stages.files.embeds import read_image_embeds
from stages.files.tables import read_json, read_scores, write_json, write_table
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    """Compare the scores of baseline and finetuned."""
    params = load_params().compare
    baseline, finetuned = (read_scores(paths.SCORES / f"{name}.csv") for name in paths.VARIANTS)

    pairs = pair_scores(baseline, finetuned)
    prompts = average_per_prompt(pairs)
    by_set = compare_sets(prompts, params)
    by_class = compare_classes(prompts, params)
    by_prompt = compare_prompts(pairs, prompts, params)
    counts = [count_collapse(scores) for scores in (baseline, finetuned)]
    summary = summarise(by_set, count_bad(finetuned), counts[1]["num_duplicates"])

    write_json(summary, paths.COMPARISON)
    write_table(by_set, paths.COMPARISON_BY_SET)
    write_table(by_class, paths.COMPARISON_BY_CLASS)
    write_table(by_prompt, paths.COMPARISON_BY_PROMPT)
    write_table(stack_variants(by_class), paths.CLASS_CLIP)
    write_table(rename_gain(by_class), paths.CLASS_GAIN)
    write_metrics(baseline, finetuned, params)
    sets = by_set.to_dict("records")
    verdict = word_verdict(sets, params, word_collapse(*counts, sets))
    for line in verdict.splitlines():
        logger.info("%s", line)


def write_metrics(baseline: pd.DataFrame, finetuned: pd.DataFrame, params: CompareParams) -> None:
    """Compare every metric that `score` names, and write the tables of them."""
    provenance = read_provenance()
    pictures = pair_metrics(baseline, finetuned, list_metrics(provenance))
    embeds = [
        read_image_embeds(paths.SCORES / f"{name}.safetensors", "score") for name in paths.VARIANTS
    ]
    embedded = pair_embeds(baseline, finetuned, *embeds)
    reference = read_image_embeds(paths.REFERENCE, "reference")

    diversity = compare_diversity(embedded, provenance)
    prompts = pd.concat([average_metrics(pictures), diversity], ignore_index=True)
    distances = compare_distances(embedded, reference, provenance, params)
    by_metric = pd.concat([compare_metrics(prompts, params), distances], ignore_index=True)

    write_table(by_metric, paths.COMPARISON_BY_METRIC)
    write_table(correlate_metrics(prompts), paths.METRIC_CORRELATIONS)
    write_table(find_disagreements(pictures), paths.DISAGREEMENTS)
    write_table(weigh_forgetting(by_metric), paths.FORGETTING)


def read_provenance() -> dict:
    """What `score` says of its metrics, which must be the same for both variants."""
    baseline, finetuned = (
        read_json(paths.SCORES / f"{name}.json", "score") for name in paths.VARIANTS
    )
    if baseline != finetuned:
        raise UserError(
            f"{paths.SCORES}: the variants were not scored alike; run `dvc repro score`"
        )
    return finetuned


def stack_variants(by_class: pd.DataFrame) -> pd.DataFrame:
    """Two rows a class, (class, model, clip_cosine): what the dumbbell of `dvc plots` wants."""
    return by_class.melt(
        id_vars="class", value_vars=list(paths.VARIANTS), var_name="model", value_name="clip_cosine"
    ).sort_values("class", kind="stable")


def rename_gain(by_class: pd.DataFrame) -> pd.DataFrame:
    """A row a class, (class, gain): what the bars of `dvc plots` want."""
    return by_class[["class", "difference"]].rename(columns={"difference": "gain"})


if __name__ == "__main__":
    run_stage(main)
