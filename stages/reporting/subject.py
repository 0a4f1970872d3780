"""The section on the subject that was learned from a few pictures."""

from typing import Any, NamedTuple

import pandas as pd

from stages.analysis.results import Results

METRIC = "subject_similarity"
NUM_TAUGHT = 12
NUM_SHOWN_PER_PROMPT = 2


class ShownSubject(NamedTuple):
    """What the page shows of the subject.

    Attributes:
        found: The row of by_metric.csv on its similarity.
        of_pictures: The same of the pictures that it was taught from: what could be reached.
        taught: The ids of some of these pictures.
        pairs: Rows of pictures of both variants, with their `baseline` and `finetuned` similarity.
    """

    found: dict[str, Any]
    of_pictures: float
    taught: list[str]
    pairs: list[dict[str, Any]]


def show_subject(
    pairs: pd.DataFrame, pictures: pd.DataFrame, results: Results
) -> ShownSubject | None:
    """The first pictures that were taught, and the first of each prompt; None without a subject.

    Args:
        pairs: Those of data/pairs.parquet, by id.
        pictures: Rows of `list_pictures` that the page shows.
        results: What `compare` found.
    """
    by_metric = results.by_metric
    found = by_metric[(by_metric["set"] == "subject") & (by_metric["metric"] == METRIC)]
    if found.empty:
        return None
    taught = pairs.index[pairs["split"] == "subject"].tolist()
    shown = pictures[(pictures["set"] == "subject") & (pictures["index"] < NUM_SHOWN_PER_PROMPT)]
    return ShownSubject(
        found.iloc[0].to_dict(),
        results.verdict["subject_similarity_of_pictures"],
        taught[:NUM_TAUGHT],
        shown.to_dict("records"),
    )
