"""Votes of people -> metrics/preference.json and tables in plots/data/preference/.

Reads the votes and the key of the study, and both variants' pictures and scores; writes how often
the fine-tuned picture is preferred, what the raters' checks say, and which metrics agree. Both
are empty without votes, and where the study is not of these pictures: experiments have others.
"""

import logging
import math
import shutil
from typing import Any

import pandas as pd

from stages.analysis.confirmation import confirm_metrics, find_opposed
from stages.analysis.paired import pair_metrics
from stages.analysis.preference import (
    ALL,
    measure_rater_agreement,
    tabulate_preference,
    tabulate_prompts,
)
from stages.analysis.raters import judge_raters, measure_self_agreement
from stages.analysis.results import FOUND, Preference
from stages.config import paths
from stages.config.notation import format_number, format_share_interval
from stages.config.params import load_params
from stages.files.facts import read_facts
from stages.files.pictures import NamedPictures
from stages.files.tables import read_scores, write_json, write_table
from stages.run.entry import run_stage
from stages.study.key import find_roles, read_key
from stages.study.votes import list_votes, read_votes, value_votes

logger = logging.getLogger(__name__)


def main() -> None:
    """Judge the votes, if there are any on these pictures."""
    confidence_level = load_params().compare.confidence_level
    votes, why = read_present_votes()

    preference = judge(votes, confidence_level) if votes is not None else None

    shutil.rmtree(paths.PREFERENCE_TABLES, ignore_errors=True)  # DVC lets it be, see dvc.yaml
    write_json(summarise(preference) if preference else {}, paths.PREFERENCE)
    write_json(preference.found if preference else {}, paths.PREFERENCE_TABLES / FOUND)
    if preference is None:
        logger.info("nothing: %s", why or "every rater is left out")
        return
    for name, table in preference._asdict().items():
        if isinstance(table, pd.DataFrame):
            write_table(table, paths.PREFERENCE_TABLES / f"{name}.csv")
    report(preference)


def read_present_votes() -> tuple[pd.DataFrame | None, str]:
    """The votes on this run's pictures; without any, why there are none.

    `value` is 1 where the fine-tuned picture is preferred, 0 where the baseline's is.
    """
    if not list_votes(paths.VOTES):
        return None, f"there are no votes in {paths.VOTES}"
    key = read_key(paths.STUDY_KEY)
    files = {name: NamedPictures(path, "file_name") for name, path in paths.SAMPLES.items()}
    roles = find_roles(key, files)
    if not roles:
        return None, f"the study of {paths.STUDY_KEY} is not of the pictures of this run"
    return value_votes(read_votes(paths.VOTES, key), roles["finetuned"]), ""


def judge(votes: pd.DataFrame, confidence_level: float) -> Preference | None:
    """What people preferred; None where no rater is left."""
    raters = judge_raters(votes)
    for row in raters[raters["reason"] != ""].to_dict("records"):
        logger.info("rater %s is left out: %s", row["rater"], row["reason"])
    kept = raters[raters["reason"] == ""]
    pairs = votes[votes["kind"] == "pair"]
    counted = pairs[pairs["rater"].isin(kept["rater"])]
    if counted.empty:
        return None
    prompts = tabulate_prompts(counted)
    baseline, finetuned = map(read_scores, paths.SCORES.values())
    baseline, finetuned = keep_shown(baseline, finetuned)
    pictures = pair_metrics(baseline, finetuned, read_facts(paths.FACTS["finetuned"]))
    agreements = {
        "self_agreement": measure_self_agreement(kept),
        "rater_agreement": measure_rater_agreement(counted),
    }
    return Preference(
        summary=tabulate_preference(counted, confidence_level),
        by_prompt=prompts,
        raters=raters,
        confirmation=confirm_metrics(prompts, pictures, confidence_level),
        opposed=find_opposed(prompts, pictures),
        found={
            "num_raters": int(counted["rater"].nunique()),
            "num_left_out": len(raters) - len(kept),
            "num_pairs": int(counted["file_name"].nunique()),
            **{name: None if math.isnan(value) else value for name, value in agreements.items()},
            "preference_of_all_raters": pairs.groupby("question")["value"].mean().to_dict(),
        },
    )


def keep_shown(
    baseline: pd.DataFrame, finetuned: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pictures that can be beside each other: of those that were handed in one may be alone."""
    names = set(baseline["file_name"]) & set(finetuned["file_name"])
    first, second = (table[table["file_name"].isin(names)] for table in (baseline, finetuned))
    return first.reset_index(drop=True), second.reset_index(drop=True)


def summarise(preference: Preference) -> dict[str, Any]:
    """The few numbers of metrics/preference.json."""
    values: dict[str, Any] = {}
    for row in preference.summary[preference.summary["set"] == ALL].to_dict("records"):
        ends = {"preference": "preference", "low": "ci_low", "high": "ci_high"}
        values |= {f"{row['question']}_{name}": row[column] for name, column in ends.items()}
    names = ("num_raters", "num_pairs", "self_agreement", "rater_agreement")
    values |= {name: preference.found[name] for name in names}
    return {name: value for name, value in values.items() if not pd.isna(value)}


def report(preference: Preference) -> None:
    """Log each question's share."""
    for row in preference.summary[preference.summary["set"] == ALL].to_dict("records"):
        logger.info(
            "%s: %s of the votes for fine-tuned (%s), %d rater(s), %d prompts",
            row["question"],
            format_number(row["preference"], 2),
            format_share_interval(row["ci_low"], row["ci_high"]),
            row["num_raters"],
            row["num_prompts"],
        )
    if num_left_out := preference.found["num_left_out"]:
        logger.info(
            "%d rater(s) are left out: %s/raters.csv", num_left_out, paths.PREFERENCE_TABLES
        )


if __name__ == "__main__":
    run_stage(main)
