import pytest

from stages.analysis.verdict import judge, word_bad_images, word_headline, word_verdict
from stages.artifacts.notation import MINUS


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (0.01, 0.03, 0.001, "better"),
        (-0.03, -0.01, 0.001, "worse"),
        (0.01, 0.03, 0.0625, "no difference shown"),
        (-0.01, 0.03, 0.001, "no difference shown"),
        (0.0, 0.0, 1.0, "no difference shown"),
        (float("nan"), float("nan"), 0.001, "no difference shown"),
    ],
)
def test_verdict_needs_interval_and_p_value(low, high, p_value, expected):
    assert judge({"ci_low": low, "ci_high": high, "p_value": p_value}, 0.95) == expected


ROW = {
    "set": "class",
    "num_prompts": 50,
    "difference": 0.0335,
    "ci_low": 0.021,
    "ci_high": 0.047,
    "p_value": 0.0002,
    "verdict": "better",
}


def test_sentence_holds_difference_interval_and_p_value():
    assert word_verdict([ROW], 0.95) == (
        "On 50 class prompts the fine-tuned model is better "
        "(+0.0335 CLIP cosine, 95 % interval +0.0210 to +0.0470, p < 0.001)."
    )


def test_a_set_without_interval_is_worded_without_one():
    row = ROW | {"ci_low": float("nan"), "ci_high": float("nan"), "p_value": 1.0}
    row |= {"verdict": "no difference shown", "difference": -0.01}
    assert word_verdict([row], 0.95) == (
        f"On 50 class prompts no difference is shown ({MINUS}0.0100 CLIP cosine, p = 1.0000)."
    )


def test_headline_names_both_sets():
    rows = [ROW, ROW | {"set": "marketing", "verdict": "worse"}]
    assert word_headline(rows) == "Better on class prompts, worse on marketing prompts"


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("better", "Better on class and marketing prompts"),
        ("no difference shown", "No difference shown on class or marketing prompts"),
    ],
)
def test_headline_says_a_shared_verdict_once(verdict, expected):
    rows = [{"set": name, "verdict": verdict} for name in ("class", "marketing")]
    assert word_headline(rows) == expected


def test_bad_pictures_are_said_only_if_there_are_any():
    assert word_bad_images(0, 380) == ""
    assert word_bad_images(1, 380).startswith("1 of 380 fine-tuned pictures is")
    assert word_bad_images(3, 380).startswith("3 of 380 fine-tuned pictures are")
