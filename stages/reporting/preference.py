"""What people preferred, and which metrics their eyes confirm."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from stages.analysis.preference import ALL
from stages.analysis.results import Preference
from stages.reporting.evidence import Rows
from stages.reporting.words import QUESTIONS, choose_digits

MAIN_METRIC = "clip_cosine"
EVEN = 0.5


class Opposed(NamedTuple):
    """The pairs on which people and a metric disagree the most, of one question."""

    question: str
    metric: str
    pictures: Rows


class ShownPreference(NamedTuple):
    """What the section says; rows are those of the tables that `preference` writes.

    Attributes:
        shares: By question in words: all pictures, then each set.
        classes: By question in words.
        metrics: A row a metric: its name, and by question its row of confirmation.csv.
        unconfirmed: Metrics that no question confirms.
        opposed: Of `MAIN_METRIC` first.
        raters: Rows of raters.csv.
        found: As `results.Preference` has it.
    """

    shares: Mapping[str, Rows]
    classes: Mapping[str, Rows]
    metrics: Rows
    unconfirmed: Sequence[str]
    opposed: Sequence[Opposed]
    raters: Rows
    found: Mapping[str, Any]

    @property
    def files(self) -> set[str]:
        """Names of the pictures that are shown."""
        return {row["file_name"] for group in self.opposed for row in group.pictures}


def show_preference(preference: Preference | None) -> ShownPreference | None:
    """What the section says; None where nobody voted."""
    if preference is None:
        return None
    summary, confirmation = preference.summary, preference.confirmation
    is_class = summary["class"] != ALL
    questions = confirmation["question"].unique()
    metrics = [
        {"metric": metric, "found": rows.set_index("question").reindex(questions).to_dict("index")}
        for metric, rows in confirmation.groupby("metric", sort=False)
    ]
    confirmed = set(confirmation.loc[confirmation["reads_as"] == "confirmed", "metric"])
    opposed = [
        Opposed(
            QUESTIONS[str(question)],
            str(metric),
            [row | {"digits": choose_digits(row["difference"])} for row in rows.to_dict("records")],
        )
        for (question, metric), rows in preference.opposed.groupby(
            ["question", "metric"], sort=False
        )
    ]
    return ShownPreference(
        shares=_group(summary[~is_class]),
        classes=_group(summary[is_class]),
        metrics=metrics,
        unconfirmed=[row["metric"] for row in metrics if row["metric"] not in confirmed],
        opposed=sorted(opposed, key=lambda group: group.metric != MAIN_METRIC),
        raters=preference.raters.to_dict("records"),
        found=preference.found,
    )


def word_share(row: Mapping[str, Any]) -> str:
    """What a share of votes with its interval reads as."""
    if row["ci_low"] > EVEN:
        return "fine-tuned is preferred"
    return "baseline is preferred" if row["ci_high"] < EVEN else "no preference shown"


def _group(summary: pd.DataFrame) -> dict[str, Rows]:
    return {
        QUESTIONS[str(question)]: [
            row | {"reads_as": word_share(row)} for row in rows.to_dict("records")
        ]
        for question, rows in summary.groupby("question", sort=False)
    }
