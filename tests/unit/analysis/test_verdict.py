from typing import get_args

import numpy as np
import pytest

from stages.analysis.resampling import Interval
from stages.analysis.verdict import KEYWORDS, Verdict, judge, word_headline, word_verdict
from stages.config.notation import MINUS
from tests.unit.analysis.builders import PARAMS

NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (0.01, 0.03, 0.001, "better"),
        (-0.03, -0.01, 0.001, "worse"),
        (0.01, 0.03, 0.0625, "too little data to say"),  # interval without p-value
        (-0.01, 0.03, 0.001, "too little data to say"),  # p-value without interval
        (-0.005, 0.009, 0.3, "no difference shown"),  # within 0.01 of zero
        (-0.011, 0.009, 0.3, "too little data to say"),
        (-0.009, 0.011, 0.3, "too little data to say"),
        (0.001, 0.009, 0.2, "no difference shown"),
        (NAN, NAN, 0.001, "too little data to say"),
    ],
)
def test_verdict_needs_evidence_for_each_claim(low, high, p_value, expected):
    assert judge(np.array([0.01, 0.02]), Interval(low, high), p_value, PARAMS) == expected


@pytest.mark.parametrize("num_prompts", [1, 50])
def test_differences_of_exactly_zero_show_no_difference_whatever_is_relevant(num_prompts):
    params = PARAMS.model_copy(update={"smallest_relevant_difference": 0.0})
    interval = Interval(NAN, NAN) if num_prompts == 1 else Interval(0.0, 0.0)
    assert judge(np.zeros(num_prompts), interval, 1.0, params) == "no difference shown"


ROW = {
    "set": "in_domain",
    "num_prompts": 50,
    "difference": 0.0335,
    "ci_low": 0.021,
    "ci_high": 0.047,
    "p_value": 0.0002,
    "verdict": "better",
}


def test_sentence_holds_difference_interval_and_p_value():
    assert word_verdict([ROW], PARAMS) == (
        "On 50 in-domain prompts the fine-tuned model is better "
        "(+0.0335 CLIP cosine, 95 % interval +0.0210 to +0.0470, p < 0.001)."
    )


def test_a_set_without_interval_is_worded_without_one():
    row = ROW | {"ci_low": float("nan"), "ci_high": float("nan"), "p_value": 1.0}
    row |= {"verdict": "no difference shown", "difference": -0.01}
    assert word_verdict([row], PARAMS) == (
        f"On 50 in-domain prompts no difference is shown ({MINUS}0.0100 CLIP cosine, p = 1.0000)."
    )


def test_too_little_data_comes_with_the_difference_that_would_be_missed():
    row = ROW | {"verdict": "too little data to say", "smallest_detectable_difference": 0.0471}
    sentence = word_verdict([row], PARAMS)
    assert "there is too little data to say" in sentence
    assert "below 0.0471 would often be missed" in sentence
    row["smallest_detectable_difference"] = NAN
    assert "so few prompts cannot show any difference" in word_verdict([row], PARAMS)


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_has_a_keyword(verdict):
    assert " " not in KEYWORDS[verdict]


def test_a_difference_that_is_sure_but_smaller_than_what_matters_is_said_to_be():
    row = ROW | {"difference": 0.003, "ci_low": 0.001, "ci_high": 0.005}
    assert word_verdict([row], PARAMS).startswith(
        "On 50 in-domain prompts the fine-tuned model is better, by less than matters: than 0.01 (+"
    )
    assert word_headline([row, ROW | {"set": "marketing"}], [], PARAMS) == (
        "Better, by less than matters, on in-domain prompts, better on marketing prompts"
    )


def test_headline_names_both_sets():
    rows = [ROW, ROW | {"set": "marketing", "verdict": "worse"}]
    assert (
        word_headline(rows, [], PARAMS) == "Better on in-domain prompts, worse on marketing prompts"
    )


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("better", "Better on in-domain and marketing prompts"),
        ("no difference shown", "No difference shown on in-domain or marketing prompts"),
        ("too little data to say", "Too little data to say on in-domain or marketing prompts"),
    ],
)
def test_headline_says_a_shared_verdict_once(verdict, expected):
    rows = [ROW | {"set": name, "verdict": verdict} for name in ("in_domain", "marketing")]
    assert word_headline(rows, [], PARAMS) == expected


def test_headline_says_which_classes_are_called_on_these_prompts():
    differences = {"cat": 0.02, "dog": -0.01, "deer": -0.05, "frog": 0.3}
    verdicts = {"cat": "better", "dog": "worse", "deer": "worse", "frog": "too little data to say"}
    classes = [
        {"class": name, "difference": differences[name], "given_prompts_verdict": verdict}
        for name, verdict in verdicts.items()
    ]
    assert word_headline([ROW], classes, PARAMS) == (
        "Better on in-domain prompts: on these prompts better on 1 of 4 classes (cat) and worse on "
        "2 of 4 classes (most on deer)"
    )
