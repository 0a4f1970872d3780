"""Two score tables -> metrics/comparison.json and the tables in plots/.

Reads data/scores/V.csv of both variants; writes paired differences, finetuned - baseline, by set,
class and prompt. Needs neither a model nor an accelerator.
"""

import logging

import pandas as pd

from stages.analysis.paired import average_per_prompt, pair_scores
from stages.analysis.tables import compare_classes, compare_prompts, compare_sets, summarise
from stages.analysis.verdict import word_bad_images, word_verdict
from stages.artifacts.tables import read_scores, write_json, write_table
from stages.config import paths
from stages.config.entry import run_stage
from stages.config.params import load_params

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

    num_bad = count_bad(finetuned)
    write_json(summarise(by_set, num_bad), paths.COMPARISON)
    write_table(by_set, paths.COMPARISON_BY_SET)
    write_table(by_class, paths.COMPARISON_BY_CLASS)
    write_table(by_prompt, paths.COMPARISON_BY_PROMPT)
    write_table(stack_variants(by_class), paths.CLASS_CLIP)
    write_table(rename_gain(by_class), paths.CLASS_GAIN)
    logger.info("%s", word_verdict(by_set.to_dict("records"), params.confidence_level))
    if num_bad:
        logger.warning("%s", word_bad_images(num_bad, len(finetuned)))


def count_bad(scores: pd.DataFrame) -> int:
    """Pictures that are black, flat or not finite."""
    return int((scores["is_black"] | scores["is_flat"] | ~scores["is_finite"]).sum())


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
