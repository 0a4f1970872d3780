"""Two score tables -> metrics/comparison.json, tables and verdict in plots/data/comparison/.

Reads what `score` wrote for both variants, and the embeds of the training pictures; writes
differences, finetuned - baseline, by set, class, prompt and metric, where metrics disagree, what
collapsed, and the verdict in words. They are paired unless data/prompts.csv says that pictures were
handed in that do not pair. Needs neither a model nor an accelerator.
"""

import logging

import pandas as pd

from stages.analysis.agreement import correlate_metrics, find_disagreements
from stages.analysis.collapse import count_collapse, list_collapsed, word_collapse
from stages.analysis.forgetting import weigh_forgetting
from stages.analysis.independent import (
    average_side_metrics,
    average_sides,
    draw_scores,
)
from stages.analysis.paired import (
    average_metrics,
    average_per_prompt,
    pair_metrics,
    pair_scores,
)
from stages.analysis.results import DISAGREEMENTS_SCHEMA, VERDICT
from stages.analysis.set_metrics import compare_distances, compare_diversity, pair_embeds
from stages.analysis.tables import (
    compare_classes,
    compare_metrics,
    compare_prompts,
    compare_sets,
    summarise,
)
from stages.analysis.verdict import word_headline, word_verdict
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import CompareParams, load_params
from stages.files.embeds import PairEmbeds, read_image_embeds, read_pair_embeds
from stages.files.facts import Facts, read_facts
from stages.files.tables import are_paired, read_prompts, read_scores, write_json, write_table
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    """Compare the scores of baseline and finetuned."""
    params = load_params().compare
    baseline, finetuned = map(read_scores, paths.SCORES.values())

    is_paired = are_paired(read_prompts(paths.PROMPTS))
    if is_paired:
        pairs = pair_scores(baseline, finetuned)
        prompts = average_per_prompt(pairs)
    else:
        pairs = draw_scores(baseline, finetuned)
        prompts = average_sides(baseline, finetuned)
    judged = prompts[prompts["set"] != "subject"]
    by_set = compare_sets(pairs, judged, params)
    by_class = compare_classes(pairs, prompts, params)
    by_prompt = compare_prompts(pairs, prompts, params)
    counts = {"baseline": count_collapse(baseline), "finetuned": count_collapse(finetuned)}
    sets = by_set.to_dict("records")
    verdict = {
        "headline": word_headline(sets, by_class.to_dict("records"), params),
        "sentence": word_verdict(sets, params),
        "warning": word_collapse(counts["baseline"], counts["finetuned"], sets),
    }

    write_json(summarise(by_set, counts["finetuned"]["num_bad"]), paths.COMPARISON)
    of_pictures = measure_subject(read_pair_embeds(paths.IMAGE_EMBEDS))
    found = {"counts": counts, "subject_similarity_of_pictures": of_pictures}
    found["is_paired"] = is_paired
    write_json(verdict | found, paths.COMPARISON_TABLES / VERDICT)
    tables = {
        "by_set": by_set,
        "papers_prompts": compare_sets(keep_papers(pairs), keep_papers(judged), params),
        "by_class": by_class,
        "by_prompt": by_prompt,
        "class_clip": stack_variants(by_class),
        "class_gain": rename_gain(by_class),
        "collapsed": list_collapsed(finetuned),
        **tabulate_metrics(baseline, finetuned, is_paired, params),
    }
    for name, table in tables.items():
        write_table(table, paths.COMPARISON_TABLES / f"{name}.csv")
    for line in filter(None, (verdict["warning"], verdict["sentence"])):
        logger.info("%s", line)


def keep_papers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table whose prompt is one of the paper's."""
    prompts = read_prompts(paths.PROMPTS)
    papers = prompts["prompt_id"][prompts["protocol"] == "paper"]
    return table[table["prompt_id"].isin(papers)]


def tabulate_metrics(
    baseline: pd.DataFrame, finetuned: pd.DataFrame, is_paired: bool, params: CompareParams
) -> dict[str, pd.DataFrame]:
    """Compare every metric that `score` names: the tables of them, by name.

    Two metrics disagree on the change of a picture, of which there is none without pairs. Without
    training pictures there are no distances to them.
    """
    facts = read_same_facts()
    if is_paired:
        pictures = pair_metrics(baseline, finetuned, facts)
        averaged, disagreements = average_metrics(pictures), find_disagreements(pictures)
    else:
        averaged = average_side_metrics(baseline, finetuned, facts)
        disagreements = pd.DataFrame(columns=list(DISAGREEMENTS_SCHEMA))
    before, after = (read_image_embeds(path, "score") for path in paths.SAMPLE_EMBEDS.values())
    embedded = pair_embeds(baseline, finetuned, before, after, is_paired)
    training = read_pair_embeds(paths.IMAGE_EMBEDS).select("train").image_embeds

    diversity = compare_diversity(embedded, facts)
    prompts = pd.concat([averaged, diversity], ignore_index=True)
    by_metric = compare_metrics(prompts, params)
    if len(training):
        distances = compare_distances(embedded, training, facts, params)
        by_metric = pd.concat([by_metric, distances], ignore_index=True)

    return {
        "by_metric": by_metric,
        "metric_correlations": correlate_metrics(prompts),
        "disagreements": disagreements,
        "forgetting": weigh_forgetting(by_metric),
    }


def measure_subject(pairs: PairEmbeds) -> float | None:
    """Mean cosine of the subject's pictures to those held out: what samples could reach.

    None where no subject was taught.
    """
    taught = pairs.select("subject").image_embeds.astype(float)
    held_out = pairs.select("subject_held_out").image_embeds.astype(float)
    return float((taught @ held_out.T).mean()) if len(taught) else None


def read_same_facts() -> dict[str, Facts]:
    """What `score` says of its metrics, which must be the same for both variants."""
    baseline, finetuned = map(read_facts, paths.FACTS.values())
    if baseline != finetuned:
        raise UserError(
            f"{paths.FACTS['baseline']}: the variants were not scored alike; run `dvc repro score`"
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
