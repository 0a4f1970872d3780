import pandas as pd
import pytest

from stages.analysis.raters import judge_raters, measure_self_agreement


def make_votes(answers: dict[str, list[tuple[str, str, str]]]) -> pd.DataFrame:
    """Votes of raters: of each trial its kind, the answer, and which side is destroyed."""
    rows = []
    for rater, trials in answers.items():
        for number, (kind, answer, destroyed) in enumerate(trials):
            arms = {"left": "baseline", "right": "finetuned"} | {destroyed: ""}
            pair = f"pair{number}" if kind != "repeat" else "pair0"
            picked = {"left": f"l{pair}", "right": f"r{pair}"}
            if kind == "repeat":  # its sides are swapped
                picked = {"left": f"r{pair}", "right": f"l{pair}"}
            for question in ("fits_text", "looks_better"):
                rows.append(
                    {
                        "rater": rater,
                        "kind": kind,
                        "question": question,
                        "answer": answer,
                        "arm_left": arms["left"],
                        "arm_right": arms["right"],
                        "pair": pair,
                        "picked": picked.get(answer, ""),
                        "seconds": 2.0,
                    }
                )
    return pd.DataFrame(rows)


SEES = [
    *(("pair", side, "") for side in ["left", "right", "no difference"] * 6),
    ("repeat", "right", ""),
    ("equal", "no difference", ""),
    ("destroyed", "left", "right"),
    ("destroyed", "right", "left"),
]
LEFT_ONLY = [(kind, "left", destroyed) for kind, _, destroyed in SEES]


def test_a_rater_who_looks_is_kept_with_all_checks_passed():
    row = judge_raters(make_votes({"7": SEES})).iloc[0]
    assert row["reason"] == ""
    assert (row["num_repeats"], row["num_repeats_same"]) == (2, 2)
    assert (row["num_equal"], row["num_equal_seen"]) == (2, 2)
    assert (row["num_destroyed"], row["num_destroyed_seen"]) == (4, 4)
    assert row["one_side_p_value"] == 1
    assert row[["num_left", "num_right", "num_no_difference"]].tolist() == [14, 16, 14]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_rater_who_presses_one_side_is_found(side):
    trials = [(kind, side, destroyed) for kind, _, destroyed in SEES]
    row = judge_raters(make_votes({"7": trials})).iloc[0]
    assert row["reason"].startswith(f"presses {side} whatever it shows")
    assert row["num_repeats_same"] == 0
    assert row["one_side_p_value"] == pytest.approx(2 * 2 * 0.5 ** len(SEES))


def test_a_rater_who_prefers_destroyed_pictures_is_left_out_and_one_who_slips_once_is_not():
    others = SEES[:-2]
    blind = [*others, ("destroyed", "right", "right"), ("destroyed", "no difference", "left")]
    slips = [*others, ("destroyed", "right", "right"), ("destroyed", "right", "left")]
    raters = judge_raters(make_votes({"1": blind, "2": slips}))
    assert raters["reason"].tolist() == ["does not see destroyed pictures", ""]


def test_self_agreement_is_over_the_pairs_that_came_back():
    raters = judge_raters(make_votes({"1": SEES, "2": LEFT_ONLY}))
    assert measure_self_agreement(raters) == 0.5
    assert pd.isna(measure_self_agreement(raters.assign(num_repeats=0)))
