import json
import re
from pathlib import Path

import pandas as pd
import pytest

from stages.config import paths
from tests.report_project import write_report, write_results
from tests.unit.stable_diffusion_project import edit_params

EQUAL = "Nothing was trained, and CLIP is equal for all pictures, as it should be."


def test_the_settings_show_the_learning_rate_that_finetune_trained_with(tmp_path: Path) -> None:
    write_results(tmp_path)
    metrics = tmp_path / "plots/data/finetune.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"learning_rate": 3.7e-4}))
    settings = re.search(
        r"<summary>finetune</summary>(.*?)</details>", write_report(tmp_path), re.S
    )
    assert settings
    assert "<dt>learning_rate</dt><dd>0.00037</dd>" in settings[1]


def test_the_page_says_how_much_of_the_update_half_precision_keeps(tmp_path: Path) -> None:
    write_results(tmp_path)
    assert "root mean square" not in write_report(tmp_path)  # of a float32 run
    metrics = tmp_path / "plots/data/finetune.json"
    update = {"update_rms": 2.8e-5, "update_kept": 0.9996, "update_kept_if_rounded": 0.5812}
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | update))
    page = write_report(tmp_path)
    assert "moved a weight by 2.8e-05 (root mean square). Of this 100.0 % is in the" in page
    assert "would have left 58.1 %." in page


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """Results of a null control: no step was taken, and the variants have the same scores."""
    write_results(tmp_path)
    metrics = tmp_path / paths.TRAINING
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"num_steps": 0}))
    baseline, finetuned = (tmp_path / path for path in paths.SCORES.values())
    finetuned.write_bytes(baseline.read_bytes())
    return tmp_path


def test_a_null_control_says_that_all_is_equal(untrained: Path) -> None:
    assert EQUAL in write_report(untrained)
    assert EQUAL in (untrained / paths.SUMMARY).read_text()


def test_a_null_control_that_is_off_says_how_far_and_does_not_fail(untrained: Path) -> None:
    """As on a GPU whose operations add in an order that changes."""
    file = untrained / paths.SCORES["finetuned"]
    scores = pd.read_csv(file)
    scores.loc[:1, "clip_cosine"] += [0.003, -0.001]
    scores.to_csv(file, index=False)
    page = write_report(untrained)
    mean = f"{0.002 / len(scores):.2g}"
    assert (
        f"and is not for 2 of {len(scores)}: it differs by {mean} on average and by 0.003" in page
    )


def test_a_strength_of_0_is_a_null_control_too(untrained: Path) -> None:
    metrics = untrained / paths.TRAINING
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"num_steps": 400}))
    assert "Nothing was trained" not in write_report(untrained)
    edit_params(untrained, "import", strength=0.0)
    assert EQUAL in write_report(untrained)


def test_where_the_variants_are_asked_for_other_words_nothing_has_to_be_equal(
    untrained: Path,
) -> None:
    edit_params(untrained, "finetune", method="full", data="subject")
    assert "Nothing was trained" not in write_report(untrained)


def test_the_verdict_warns_where_the_guide_judges_and_only_there(untrained: Path) -> None:
    edit_params(untrained, "sample", guide_is_scorer=True)
    assert "every verdict here is circular" not in write_report(untrained)
    edit_params(untrained, "sample", clip_guidance_scale=5.0)
    page = write_report(untrained)
    assert "every verdict here is circular" in page
    assert "led by local-dir:models/tiny-guide at scale 5" in page
    edit_params(untrained, "sample", guide_is_scorer=False)
    assert "every verdict here is circular" not in write_report(untrained)
