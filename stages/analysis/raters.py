"""Whether a rater looked: pairs that came back, equal pictures, destroyed ones, and one side only.

Of these trials none is a vote on the study's question. A rater is left out for pressing one side
whatever it shows, or for preferring destroyed pictures; all else is counted and shown.
"""

import math

import pandas as pd
from scipy import stats

from stages.analysis.results import RATERS_SCHEMA

ONE_SIDE = 0.001
"""Of a rater who looks: how often such a side's excess, or a larger one, would come by chance."""
MOST_DESTROYED = 0.5
"""A rater who prefers the destroyed picture, or neither, in more of the answers did not look."""


def judge_raters(votes: pd.DataFrame) -> pd.DataFrame:
    """A row of `RATERS_SCHEMA` a rater; `reason` is why one is left out, "" for none.

    Args:
        votes: Of all trials, as `stages.study.votes.read_votes` joins them.
    """
    rows = []
    for rater, own in votes.groupby("rater", sort=False):
        repeats, same = _count_repeats(own)
        equal = own[own["kind"] == "equal"]
        destroyed = own[own["kind"] == "destroyed"]
        row = {
            "rater": str(rater),
            "num_votes": len(own),
            "num_left": int((own["answer"] == "left").sum()),
            "num_right": int((own["answer"] == "right").sum()),
            "num_no_difference": int((own["answer"] == "no difference").sum()),
            "one_side_p_value": _test_sides(own),
            "num_repeats": repeats,
            "num_repeats_same": same,
            "num_equal": len(equal),
            "num_equal_seen": int((equal["answer"] == "no difference").sum()),
            "num_destroyed": len(destroyed),
            "num_destroyed_seen": int(_is_whole_picked(destroyed).sum()),
            "seconds": float(own["seconds"].median()),
        }
        rows.append(row | {"reason": _find_reason(row)})
    return pd.DataFrame(rows, columns=list(RATERS_SCHEMA))


def measure_self_agreement(raters: pd.DataFrame) -> float:
    """How often a pair that came back got the same answer; NaN where none did."""
    total = raters["num_repeats"].sum()
    return float(raters["num_repeats_same"].sum() / total) if total else math.nan


def _count_repeats(own: pd.DataFrame) -> tuple[int, int]:
    """Answers about a pair that came back, and how many of them named the same picture."""
    pairs = own[own["kind"] == "pair"].set_index(["pair", "question"])["picked"]
    again = own[own["kind"] == "repeat"].set_index(["pair", "question"])["picked"]
    both = again.index.intersection(pairs.index)
    return len(both), int((again[both] == pairs[both]).sum())


def _test_sides(own: pd.DataFrame) -> float:
    """The smallest p-value of left against right over the questions, times how many there are.

    Questions apart, as answers about one pair go together. Sides are drawn, so that who looks
    prefers left half of the time (exact binomial test).
    """
    p_values = []
    for _, answers in own.groupby("question")["answer"]:
        left, right = (int((answers == side).sum()) for side in ("left", "right"))
        if left + right:
            p_values.append(stats.binomtest(left, left + right).pvalue)
    return min(1.0, min(p_values, default=1.0) * len(p_values)) if p_values else 1.0


def _is_whole_picked(destroyed: pd.DataFrame) -> pd.Series:
    """Whether the picture was preferred that is somebody's."""
    sides = destroyed["arm_left"].where(destroyed["answer"] == "left", destroyed["arm_right"])
    return (destroyed["answer"] != "no difference") & (sides != "")


def _find_reason(row: dict) -> str:
    reasons = []
    if row["one_side_p_value"] < ONE_SIDE:
        side = "left" if row["num_left"] > row["num_right"] else "right"
        reasons.append(f"presses {side} whatever it shows")
    missed = row["num_destroyed"] - row["num_destroyed_seen"]
    if row["num_destroyed"] and missed / row["num_destroyed"] > MOST_DESTROYED:
        reasons.append("does not see destroyed pictures")
    return "; ".join(reasons)
