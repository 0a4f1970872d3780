"""Pictures of both variants that do not pair: each side's of a prompt are a sample of their own.

The prompts are still shared, so a prompt's difference is that of its two means, and claims about
prompts like these go as with pairs: one value a prompt. Claims about these prompts add up what each
side's pictures vary. Why, and how often that is right: docs/adr/0035-pictures-alone.md.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from stages.analysis.paired import PROMPT, check_numbers, take_correct, take_values
from stages.config.mistakes import UserError
from stages.files.facts import Facts

SIGNS = {"baseline": -1, "finetuned": 1}


def draw_scores(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> pd.DataFrame:
    """A row a picture of either side, for what `paired.pair_scores` is used for.

    Returns:
        set, class, prompt_id, `side`, and as `difference` what the picture adds to that of its
        prompt: its clip_cosine, below zero for the baseline. The means of a prompt's two sides add
        up to its difference.

    Raises:
        UserError: A prompt is on one side only, or a score is no number.
    """
    _check(baseline, finetuned)
    parts = [
        scores[["set", "class", "prompt_id"]].assign(
            side=side, difference=SIGNS[side] * scores["clip_cosine"]
        )
        for side, scores in (("baseline", baseline), ("finetuned", finetuned))
    ]
    return pd.concat(parts, ignore_index=True)


def average_sides(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> pd.DataFrame:
    """As `paired.average_per_prompt`; `num_images` is that of the side with fewer pictures."""
    _check(baseline, finetuned)
    tables = [
        scores.assign(value=scores["clip_cosine"], is_correct=take_correct(scores))
        for scores in (baseline, finetuned)
    ]
    means = _average(tables, ["value", "is_correct"])
    names = {f"is_correct_{side}": means.pop(f"is_correct_{side}") for side in SIGNS}
    return means.assign(**names)


def average_side_metrics(
    baseline: pd.DataFrame, finetuned: pd.DataFrame, facts: Mapping[str, Facts]
) -> pd.DataFrame:
    """As `paired.average_metrics` of `paired.pair_metrics`.

    Raises:
        UserError: As `draw_scores`, or a metric has no column.
    """
    _check(baseline, finetuned)
    tables = []
    columns = {name: entry.column for name, entry in facts.items() if entry.unit == "picture"}
    for set_name in baseline["set"].unique():
        sides = {
            side: scores[scores["set"] == set_name]
            for side, scores in (("baseline", baseline), ("finetuned", finetuned))
        }
        for metric, column in columns.items():
            values = {side: take_values(rows, metric, column, side) for side, rows in sides.items()}
            if any(value is None for value in values.values()):
                continue
            with_values = [rows.assign(value=values[side]) for side, rows in sides.items()]
            direction = facts[metric].direction[str(set_name)]
            tables.append(
                _average(with_values, ["value"]).assign(metric=metric, direction=direction)
            )
    return pd.concat(tables, ignore_index=True)


def _average(sides: Sequence[pd.DataFrame], values: list[str]) -> pd.DataFrame:
    """Both means of each prompt and their difference, in the baseline's order.

    Of `values` the first is called by its side, the others have it at their ends.
    """
    groups = [scores.groupby(PROMPT, sort=False) for scores in sides]
    first, second = (group[values].agg("mean") for group in groups)
    sizes = [group.size() for group in groups]
    means = first.add_suffix("_baseline").join(second.add_suffix("_finetuned"))
    means = means.rename(columns={f"{values[0]}_{side}": side for side in SIGNS})
    means.insert(0, "num_images", pd.concat(sizes, axis=1).min(axis=1).astype(int))
    means["difference"] = means["finetuned"] - means["baseline"]
    return means.reset_index()


def _check(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> None:
    sides = {"baseline": baseline, "finetuned": finetuned}
    for side, scores in sides.items():
        check_numbers(scores, "clip_cosine", side)
    ids = {side: set(map(tuple, scores[PROMPT].to_numpy())) for side, scores in sides.items()}
    if alone := ids["baseline"] ^ ids["finetuned"]:
        raise UserError(
            f"the scores are not of the same prompts: {sorted(alone)[0][0]} is on one side only; "
            "run `dvc repro`"
        )
