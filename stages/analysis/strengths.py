"""More than two arms: strengths by Bradley and Terry, with ties, from votes on pairs of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stages.analysis.results import STRENGTHS_SCHEMA
from stages.config.mistakes import UserError

NUM_RESAMPLES = 1000
PRIOR = 0.5
"""Made-up votes each way between any two arms, so that one which never wins has a strength."""


def estimate_strengths(votes: pd.DataFrame, confidence_level: float, seed: int) -> pd.DataFrame:
    """Rows of `STRENGTHS_SCHEMA`, an arm of a question each, strongest first.

    `chance` is that of being preferred to another arm, over all others alike, where a rater sees a
    difference: s_i / (s_i + s_j), from Newman's (2023) iteration of Bradley and Terry's model with
    ties. Intervals are percentiles over resamples of both raters and prompts (Owen 2007, "The
    pigeonhole bootstrap"); of one rater, of prompts alone.

    Args:
        votes: A row a vote on a pair: question, rater, prompt_id, arm_left, arm_right, answer.
        confidence_level: Of the intervals, in (0, 1).
        seed: Of the resamples.

    Raises:
        UserError: evalica is not installed.
    """
    rows = []
    for question, asked in votes.groupby("question", sort=False):
        arms = sorted({*asked["arm_left"], *asked["arm_right"]})
        found = _estimate(asked, np.ones(len(asked)), arms)
        rng = np.random.default_rng(seed)
        drawn = np.array(
            [_estimate(asked, _resample(asked, rng), arms) for _ in range(NUM_RESAMPLES)]
        )
        tail = (1 - confidence_level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        rows += [
            {
                "question": question,
                "arm": arm,
                "num_raters": asked["rater"].nunique(),
                "num_prompts": asked["prompt_id"].nunique(),
                "num_votes": int(((asked["arm_left"] == arm) | (asked["arm_right"] == arm)).sum()),
                "chance": found[number],
                "ci_low": low[number],
                "ci_high": high[number],
            }
            for number, arm in sorted(enumerate(arms), key=lambda item: -found[item[0]])
        ]
    return pd.DataFrame(rows, columns=list(STRENGTHS_SCHEMA))


def _resample(votes: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """How often each vote is drawn: its rater's count times its prompt's."""
    weights = np.ones(len(votes))
    for column in ("rater", "prompt_id"):
        codes, names = pd.factorize(votes[column])
        if len(names) > 1:
            weights *= np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[
                codes
            ]
    return weights


def _estimate(votes: pd.DataFrame, weights: np.ndarray, arms: list[str]) -> np.ndarray:
    """The chance of each arm against the others."""
    evalica = _import_evalica()
    outcomes: Mapping[str, Any] = {
        "left": evalica.Winner.X,
        "right": evalica.Winner.Y,
        "no difference": evalica.Winner.Draw,
    }
    others = [(a, b) for a in arms for b in arms if a != b]
    result = evalica.newman(
        [*votes["arm_left"], *(a for a, _ in others)],
        [*votes["arm_right"], *(b for _, b in others)],
        [*votes["answer"].map(outcomes), *(evalica.Winner.X for _ in others)],
        weights=[*weights, *(PRIOR for _ in others)],
        limit=1000,
    )
    strength = result.scores.reindex(arms).to_numpy()
    chance = strength[:, None] / (strength[:, None] + strength)
    return (chance.sum(axis=1) - 0.5) / (len(arms) - 1)


def _import_evalica() -> Any:
    try:
        import evalica  # noqa: PLC0415 (optional)
    except ImportError:
        raise UserError(
            "a study of more than two arms needs evalica; pip install -r requirements-votes.txt"
        ) from None
    return evalica
