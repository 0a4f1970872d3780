"""What `compare` writes and `report` reads: tables, whose columns are named here, and the verdict.

Differences are finetuned - baseline.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stages.files.tables import Schema, read_csv, read_json

TEXT = {
    "given_prompts_verdict",
    *("set", "class", "prompt_id", "prompt", "file_name", "reason", "verdict"),
    *("a", "b"),
    *("question", "rater", "arm", "reads_as"),
    *("metric", "metric_a", "metric_b", "direction", "experiment", "method"),
}


def _type_columns(names: str) -> Schema:
    """Columns of `TEXT` hold text, counts and numbers of pictures are whole, all others are not."""
    return {
        name: "str"
        if name in TEXT
        else "int64"
        if name == "index" or name.startswith("num_")
        else "float64"
        for name in names.split()
    }


VERDICT = "verdict.json"

_ESTIMATES = "baseline finetuned difference ci_low ci_high"
_ACCURACIES = "zero_shot_accuracy_baseline zero_shot_accuracy_finetuned"
_EFFECT = "effect_size smallest_detectable_difference verdict"
_GAINS = "gain_in_domain gain_ci_low gain_ci_high"
_CHANGES = "change_out_of_domain change_ci_low change_ci_high"

BY_SET_SCHEMA = _type_columns(
    f"set num_prompts num_images {_ESTIMATES} {_ACCURACIES} p_value smallest_p_value {_EFFECT} "
    "sd_prompts sd_pictures more_prompts"
)
"""`sd_prompts` and `sd_pictures` are of true differences of prompts and of the noise of a picture.
`more_prompts`, of one picture each, would settle the question."""
GIVEN = "given_prompts_"
"""What columns begin with that say something of the very prompts that were sampled."""
BY_CLASS_SCHEMA = _type_columns(
    f"class num_prompts num_images {_ESTIMATES} {_ACCURACIES} p_value smallest_p_value "
    f"p_value_holm {_EFFECT} {GIVEN}ci_low {GIVEN}ci_high {GIVEN}p_value {GIVEN}p_value_holm "
    f"{GIVEN}verdict"
)
BY_PROMPT_SCHEMA = _type_columns(
    f"prompt_id set class prompt num_images {_ESTIMATES} {_ACCURACIES} p_value p_value_holm verdict"
)
BY_METRIC_SCHEMA = _type_columns(
    f"set metric direction num_prompts num_images {_ESTIMATES} p_value p_value_holm effect_size "
    "difference_sd"
)
METRIC_CORRELATIONS_SCHEMA = _type_columns("set metric_a metric_b spearman num_prompts")
DISAGREEMENTS_SCHEMA = _type_columns(
    "file_name prompt_id set class prompt index metric_a metric_b difference_a difference_b "
    "rank_gap"
)
COLLAPSED_SCHEMA = _type_columns("file_name prompt_id set class prompt index reason")
FORGETTING_SCHEMA = _type_columns(
    f"metric {_GAINS} {_CHANGES} trade_off trade_off_ci_low trade_off_ci_high"
)
POOLED_SCHEMA = _type_columns(
    "set metric num_seeds num_prompts difference ci_low ci_high p_value sd_seeds sd_prompts "
    "sd_residual verdict"
)
_ARMS = "a b num_prompts num_images mean_a mean_b difference ci_low ci_high"
DUELS_SCHEMA = _type_columns(f"set metric direction {_ARMS} p_value p_value_holm verdict")
DUELS_BY_CLASS_SCHEMA = _type_columns(
    "a b class difference ci_low ci_high p_value p_value_holm verdict"
)
GUIDANCE_SCHEMA = _type_columns(
    "variant set scale first_scale num_prompts guide_gain guide_ci_low guide_ci_high judge_gain "
    "judge_ci_low judge_ci_high ahead_gain ahead_ci_low ahead_ci_high seconds_per_picture "
    "first_seconds_per_picture"
)
"""Gains are over `first_scale`; `ahead` is the guide's cosine minus the judge's."""
PLAN_SCHEMA = _type_columns(
    "set num_prompts num_pictures num_seeds num_images minutes detectable_difference"
)
METHODS_SCHEMA = _type_columns(
    "experiment method strength learning_rate num_trainable_parameters validation_loss_change "
    f"{_GAINS} {_CHANGES}"
)
PREFERENCE_SCHEMA = _type_columns(
    "question set class num_raters num_prompts num_votes num_no_difference preference ci_low "
    "ci_high"
)
"""`preference` is the share of votes for the fine-tuned picture, no difference as half a vote."""
PREFERENCE_BY_PROMPT_SCHEMA = _type_columns(
    "question set class prompt_id file_name num_raters preference"
)
RATERS_SCHEMA = _type_columns(
    "rater num_votes num_left num_right num_no_difference one_side_p_value num_repeats "
    "num_repeats_same num_equal num_equal_seen num_destroyed num_destroyed_seen seconds reason"
)
CONFIRMATION_SCHEMA = _type_columns(
    "question metric num_pairs agreement ci_low ci_high p_value p_value_holm kendall_tau "
    "num_prompts reads_as"
)
OPPOSED_SCHEMA = _type_columns(
    "question metric file_name prompt_id set class prompt index preference num_raters difference"
)
STRENGTHS_SCHEMA = _type_columns(
    "question arm num_raters num_prompts num_votes chance ci_low ci_high"
)


class Results(NamedTuple):
    """What `compare` found: a table a file, and the verdict.

    Attributes:
        verdict: `headline`, `sentence` and `warning` in words, and `counts` of bad pictures by
            variant.
    """

    by_set: pd.DataFrame
    papers_prompts: pd.DataFrame
    by_class: pd.DataFrame
    by_prompt: pd.DataFrame
    by_metric: pd.DataFrame
    metric_correlations: pd.DataFrame
    disagreements: pd.DataFrame
    forgetting: pd.DataFrame
    collapsed: pd.DataFrame
    verdict: dict[str, Any]


_SCHEMAS = {
    "by_set": BY_SET_SCHEMA,
    "papers_prompts": BY_SET_SCHEMA,
    "by_class": BY_CLASS_SCHEMA,
    "by_prompt": BY_PROMPT_SCHEMA,
    "by_metric": BY_METRIC_SCHEMA,
    "metric_correlations": METRIC_CORRELATIONS_SCHEMA,
    "disagreements": DISAGREEMENTS_SCHEMA,
    "forgetting": FORGETTING_SCHEMA,
    "collapsed": COLLAPSED_SCHEMA,
}
"""Name of the file without its suffix to its columns."""


class Preference(NamedTuple):
    """What `preference` found: a table a file, and numbers that are in none of them.

    Attributes:
        found: `num_raters`, `num_left_out`, `num_pairs`, `self_agreement` and `rater_agreement`,
            each of these two None where it can't be told, and `preference_of_all_raters` by
            question, those that are left out included.
    """

    summary: pd.DataFrame
    by_prompt: pd.DataFrame
    raters: pd.DataFrame
    confirmation: pd.DataFrame
    opposed: pd.DataFrame
    found: dict[str, Any]


FOUND = "found.json"
_PREFERENCE_SCHEMAS = {
    "summary": PREFERENCE_SCHEMA,
    "by_prompt": PREFERENCE_BY_PROMPT_SCHEMA,
    "raters": RATERS_SCHEMA,
    "confirmation": CONFIRMATION_SCHEMA,
    "opposed": OPPOSED_SCHEMA,
}


def read_preference(folder: Path) -> Preference | None:
    """Read what people preferred; None where there are no votes. Errors as `read_csv`."""
    found = read_json(folder / FOUND, "preference")
    if not found:
        return None
    read = {
        name: read_csv(folder / f"{name}.csv", schema, "preference")
        for name, schema in _PREFERENCE_SCHEMAS.items()
    }
    return Preference(**read, found=found)


def read_results(folder: Path) -> Results:
    """Read the tables in a folder, and the verdict beside them; errors as `read_csv`."""
    read = {
        name: read_csv(folder / f"{name}.csv", schema, "compare")
        for name, schema in _SCHEMAS.items()
    }
    return Results(**read, verdict=read_json(folder / VERDICT, "compare"))
