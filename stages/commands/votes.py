"""Votes on the study in data/study, of any experiments -> plots/votes.csv.

`python -m stages.commands.votes`. A view: what the stage `preference` does for the pictures of the
workspace, without their scores. Of two arms the share of votes, of more their strengths.
"""

import logging

import pandas as pd

from stages.analysis.preference import estimate_share
from stages.analysis.raters import judge_raters
from stages.analysis.results import STRENGTHS_SCHEMA
from stages.analysis.strengths import estimate_strengths
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.notation import format_number, format_share_interval
from stages.config.params import CompareParams, load_params
from stages.files.tables import write_table
from stages.run.entry import run_stage
from stages.study.key import list_arms, read_key
from stages.study.votes import read_votes, value_votes

logger = logging.getLogger(__name__)


def main() -> None:
    """Judge the votes, and say how each arm does."""
    params = load_params().compare
    key = read_key(paths.STUDY_KEY)
    votes = read_votes(paths.VOTES, key)
    if votes.empty:
        raise UserError(f"there are no votes in {paths.VOTES}; put the raters' files there")
    counted = keep_raters(votes)
    table = judge_arms(counted[counted["kind"] == "pair"], list_arms(key), params)
    write_table(table, paths.JUDGED_VOTES)
    for row in table.to_dict("records"):
        logger.info(
            "%s: %s is preferred with a chance of %s (%s), %d rater(s), %d prompts",
            row["question"],
            row["arm"],
            format_number(row["chance"], 2),
            format_share_interval(row["ci_low"], row["ci_high"]),
            row["num_raters"],
            row["num_prompts"],
        )
    logger.info("%s", paths.JUDGED_VOTES)


def keep_raters(votes: pd.DataFrame) -> pd.DataFrame:
    """The votes of those who looked.

    Raises:
        UserError: Nobody did.
    """
    raters = judge_raters(votes)
    for row in raters[raters["reason"] != ""].to_dict("records"):
        logger.info("rater %s is left out: %s", row["rater"], row["reason"])
    kept = votes[votes["rater"].isin(raters.loc[raters["reason"] == "", "rater"])]
    if not (kept["kind"] == "pair").any():
        raise UserError(f"{paths.VOTES}: every rater is left out; there is nothing to judge")
    return kept


def judge_arms(votes: pd.DataFrame, arms: list[str], params: CompareParams) -> pd.DataFrame:
    """Rows of `STRENGTHS_SCHEMA`; of two arms the chance counts no difference as half."""
    if len(arms) > 2:  # noqa: PLR2004
        return estimate_strengths(votes, params.confidence_level, params.seed)
    rows = []
    for question, asked in votes.groupby("question", sort=False):
        for arm in arms:
            valued = value_votes(asked, arm)
            found = estimate_share(
                valued["value"].to_numpy(),
                valued["rater"].tolist(),
                valued["prompt_id"].tolist(),
                params.confidence_level,
            )
            rows.append(
                {
                    "question": question,
                    "arm": arm,
                    "num_raters": asked["rater"].nunique(),
                    "num_prompts": asked["prompt_id"].nunique(),
                    "num_votes": len(asked),
                    **dict(zip(("chance", "ci_low", "ci_high"), found, strict=True)),
                }
            )
    return pd.DataFrame(rows, columns=list(STRENGTHS_SCHEMA))


if __name__ == "__main__":
    run_stage(main)
