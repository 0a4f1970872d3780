import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.analysis.confirmation import NUM_OPPOSED, confirm_metrics, find_opposed

PREFERENCE = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0.5, 0.5, 1.0])


def make_prompts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question": "fits_text",
            "set": "in_domain",
            "class": "c",
            "prompt_id": [f"p{n}" for n in range(len(PREFERENCE))],
            "file_name": [f"p{n}.png" for n in range(len(PREFERENCE))],
            "num_raters": 1,
            "preference": PREFERENCE,
        }
    )


def make_pictures(**gains: np.ndarray) -> pd.DataFrame:
    """Changes of metrics; of those whose name ends in _down lower is better."""
    prompts = make_prompts()
    tables = [
        prompts[["file_name"]].assign(
            prompt="a thing",
            index=0,
            metric=name,
            direction="lower" if name.endswith("_down") else "higher",
            difference=gain,
        )
        for name, gain in gains.items()
    ]
    return pd.concat(tables)


def test_agreement_is_of_signs_apart_from_pairs_without_a_difference():
    gain = np.array([1, 1, 1, -1, 1, 1, -1, -1, -1, 1, -1, 5, 5, 0.0])
    rows = confirm_metrics(make_prompts(), make_pictures(clip=gain), 0.95)
    row = rows.iloc[0]
    assert row["num_pairs"] == 11
    assert row["agreement"] == pytest.approx(9 / 11)
    interval = stats.binomtest(9, 11).proportion_ci(method="wilson")
    assert (row["ci_low"], row["ci_high"]) == (interval.low, interval.high)
    assert row["p_value"] == stats.binomtest(9, 11).pvalue
    assert row["kendall_tau"] == pytest.approx(stats.kendalltau(PREFERENCE, gain).statistic)
    assert row["num_prompts"] == 14


def test_a_metric_of_which_lower_is_better_is_turned():
    gain = PREFERENCE - 0.5 + 0.01
    rows = confirm_metrics(make_prompts(), make_pictures(up=gain, rank_down=-gain), 0.95)
    assert rows["agreement"].tolist() == [1, 1]
    assert rows["kendall_tau"].nunique() == 1
    assert rows["reads_as"].tolist() == ["confirmed", "confirmed"]


def test_what_no_eye_confirms_and_what_eyes_contradict_is_told_and_neither_has_no_row():
    gain = PREFERENCE - 0.5
    chance = np.array([1.0, -1.0] * 7)
    pictures = make_pictures(good=gain, bad=-gain, chance=chance, dark=gain)
    pictures.loc[pictures["metric"] == "dark", "direction"] = "neither"
    rows = confirm_metrics(make_prompts(), pictures, 0.95).set_index("metric")
    assert rows["reads_as"].to_dict() == {
        "good": "confirmed",
        "bad": "contradicted",
        "chance": "not confirmed",
    }
    assert rows.loc["good", "p_value_holm"] == pytest.approx(3 * rows.loc["good", "p_value"])


def test_a_metric_that_changed_nowhere_has_no_agreement():
    rows = confirm_metrics(make_prompts(), make_pictures(clip=np.zeros(14)), 0.95)
    assert rows.iloc[0]["num_pairs"] == 0
    assert rows[["agreement", "ci_low", "p_value", "kendall_tau"]].isna().all(axis=None)
    assert rows.iloc[0]["reads_as"] == "not confirmed"


def test_the_pairs_most_at_odds_come_first():
    gain = np.where(PREFERENCE > 0.5, -1.0, 1.0) * np.arange(1, 15)
    rows = find_opposed(make_prompts(), make_pictures(clip=gain))
    assert rows["file_name"].tolist() == ["p13.png", *(f"p{n}.png" for n in (10, 9, 8, 7, 6))]
    assert len(rows) == NUM_OPPOSED
    assert find_opposed(make_prompts(), make_pictures(clip=PREFERENCE - 0.5)).empty
