import pandas as pd
import pytest

from stages.reporting.figures import (
    draw_change,
    draw_loss,
    draw_prompt_changes,
    draw_validation_loss,
)
from stages.reporting.style import BASELINE, FINETUNED

ROWS = pd.DataFrame(
    {
        "class": ["cat", "dog"],
        "set": ["in_domain", "marketing"],
        "prompt": ["a cat", "a dog"],
        "baseline": [0.5, 0.6],
        "finetuned": [0.55, 0.58],
        "difference": [0.05, -0.02],
        "ci_low": [0.03, -0.04],
        "ci_high": [0.06, 0.01],
    }
)


VERDICTS = ["too little data to say", "no difference shown"]


def test_what_is_called_better_or_worse_is_marked():
    named = draw_change(ROWS, "class", ["better", "worse"], 0.95).data[1]
    assert list(named.y) == ["▼ dog", "▲ cat"]


def test_another_interval_can_be_drawn():
    rows = ROWS.assign(given_ci_low=0.0, given_ci_high=0.1)
    finetuned = draw_change(rows, "class", VERDICTS, 0.95, "given_").data[2]
    assert list(finetuned.error_x.array) == pytest.approx([0.1 + 0.02, 0.1 - 0.05])


def test_variants_keep_their_colours_and_the_first_class_stands_on_top():
    _, baseline, finetuned = draw_change(ROWS, "class", VERDICTS, 0.95).data
    assert (baseline.marker.color, finetuned.marker.color) == (BASELINE, FINETUNED)
    assert list(baseline.y) == ["dog", "cat"]
    assert list(baseline.x) == [0.6, 0.5]


def test_interval_of_the_change_is_drawn_from_the_baseline_on():
    finetuned = draw_change(ROWS, "class", VERDICTS, 0.95).data[2]
    low = [x - down for x, down in zip(finetuned.x, finetuned.error_x.arrayminus, strict=True)]
    high = [x + up for x, up in zip(finetuned.x, finetuned.error_x.array, strict=True)]
    assert low == pytest.approx([0.6 - 0.04, 0.5 + 0.03])
    assert high == pytest.approx([0.6 + 0.01, 0.5 + 0.06])


def test_every_prompt_is_a_dot_in_the_row_of_its_class():
    in_domain, marketing = draw_prompt_changes(ROWS).data
    assert (list(in_domain.x), list(in_domain.y)) == ([0.05], ["cat"])
    assert (list(marketing.x), list(marketing.y)) == ([-0.02], ["dog"])


def test_prompts_of_a_subject_make_no_row_among_the_classes():
    of_subject = ROWS[:1].assign(**{"set": "subject", "class": "frog"})
    figure = draw_prompt_changes(pd.concat([of_subject, ROWS]))
    assert figure.layout.yaxis.categoryarray == ("dog", "cat")
    assert [list(trace.ids) for trace in figure.data] == [["prompt-1"], ["prompt-2"]]


def test_running_mean_of_a_constant_loss_is_that_loss():
    raw, smooth = draw_loss(pd.DataFrame({"step": range(1, 61), "loss": 0.25})).data
    assert list(smooth.y) == pytest.approx(list(raw.y))


def test_a_run_of_no_steps_still_has_charts():
    assert list(draw_loss(pd.DataFrame({"step": [], "loss": []})).data[0].x) == []
    figure = draw_validation_loss(pd.DataFrame({"step": [0], "validation_loss": [0.3]}))
    assert list(figure.data[0].y) == [0.3]
