"""The stages on pictures that were handed in: the same numbers, or wider intervals."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import (
    check,
    compare,
    embed,
    encode,
    finetune,
    preflight,
    prepare,
    report,
    sample,
    score,
)
from stages.commands import export, plan, study
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.tables import read_json, write_json
from tests.handed_in import hand_out
from tests.pictures import name_images, read_samples
from tests.tiny import build_scorer
from tests.unit.stable_diffusion_project import build_encoded_project, edit_params, enter_copy

KNOWN = ["prompt", "set", "class"]
ABSENT = {"training_similarity", "nearest_training_cosine", "kid", "cmmd"}
WIDTHS = ("given_prompts_ci_low", "given_prompts_ci_high")


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that trained, sampled, scored and compared, two prompts of a class."""
    folder = tmp_path_factory.mktemp("sampled") / "project"
    build_encoded_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    edit_params(folder, "sample", images_per_in_domain_prompt=4)
    edit_params(folder, "finetune", learning_rate=5e-2)
    edit_params(folder, "compare", num_resamples=200)
    edit_params(folder, "study", num_pairs=4)
    (folder / paths.VOTES).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prompts = pd.read_csv(paths.PROMPTS)
        prompts.loc[1, "class"] = "cat"
        prompts.to_csv(paths.PROMPTS, index=False)
        embed.main()
        finetune.main()
        sample_score_and_compare()
    return folder


@pytest.fixture
def project(sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(sampled, tmp_path, monkeypatch)


def sample_score_and_compare() -> None:
    for variant in paths.VARIANTS:
        sample.main(variant)
        score.main(variant)
    compare.main()


def run_on(project: Path, named: dict[str, str]) -> None:
    """All stages that what is handed in concerns."""
    edit_params(project, "pictures", **named)
    check.main()
    preflight.main()
    prepare.main()
    shutil.rmtree(paths.FINETUNED)  # as DVC does
    embed.main()
    encode.main()
    finetune.main()
    sample_score_and_compare()


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(paths.COMPARISON_TABLES / f"{name}.csv")


def test_the_pipelines_own_pictures_with_seeds_give_the_same_numbers_to_the_last_digit(
    project: Path,
) -> None:
    names = ("by_set", "by_class", "by_prompt", "by_metric", "forgetting")
    before = {name: read(name) for name in names}
    summary = paths.COMPARISON.read_bytes()
    run_on(project, hand_out(Path("theirs"), [*KNOWN, "seed"]))
    assert paths.COMPARISON.read_bytes() == summary
    for name in ("by_set", "by_class", "by_prompt"):
        own, found = (
            t.drop(columns="prompt_id", errors="ignore") for t in (before[name], read(name))
        )
        pd.testing.assert_frame_equal(own, found, check_exact=True)
    own, found = (t.drop(columns="p_value_holm") for t in (before["by_metric"], read("by_metric")))
    own = own[~own["metric"].isin(ABSENT)].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, found, check_exact=True)
    assert read_json(paths.COMPARISON_TABLES / "verdict.json", "compare")["is_paired"]


def test_without_seeds_intervals_are_at_least_as_wide(project: Path) -> None:
    paired = read("by_set"), read("by_class"), read("by_prompt")
    run_on(project, hand_out(Path("theirs"), KNOWN))
    by_set, by_class, by_prompt = read("by_set"), read("by_class"), read("by_prompt")
    same = ["set", "num_prompts", "difference", "ci_low", "ci_high", "p_value", "verdict"]
    pd.testing.assert_frame_equal(paired[0][same], by_set[same], rtol=1e-12)
    for before, after, ends in (
        (paired[1], by_class, WIDTHS),
        (paired[2], by_prompt, ("ci_low", "ci_high")),
    ):
        widths = [table[ends[1]] - table[ends[0]] for table in (before, after)]
        assert (widths[1] >= widths[0]).all()
        assert (widths[1] > 1.2 * widths[0]).any()
        np.testing.assert_allclose(before["difference"], after["difference"], rtol=1e-9)
    assert not read_json(paths.COMPARISON_TABLES / "verdict.json", "compare")["is_paired"]


def test_sides_of_unequal_numbers_are_compared_and_shown(project: Path) -> None:
    named = hand_out(Path("theirs"), ["prompt"])
    table = pd.read_csv(f"{named['baseline']}/metadata.csv")
    table[table.groupby("prompt").cumcount() < 2].to_csv(
        f"{named['baseline']}/metadata.csv", index=False
    )
    run_on(project, named)
    (row,) = read("by_set").to_dict("records")
    assert (row["num_prompts"], row["num_images"]) == (3, 6)
    assert np.isnan(row["zero_shot_accuracy_finetuned"])
    assert read("by_class").empty
    first, second = (pd.read_csv(path) for path in paths.SCORES.values())
    means = [t.groupby("prompt")["clip_cosine"].mean() for t in (first, second)]
    assert row["difference"] == pytest.approx((means[1] - means[0]).mean())
    metrics = set(read("by_metric")["metric"])
    assert not metrics & {*ABSENT, "zero_shot_accuracy"}
    assert {"clip_cosine", "diversity", "sharpness"} <= metrics
    page, summary = write_report()
    words = "Not the same noise: pictures are independent"
    assert words in page[: page.index('class="cards"')]
    assert words in summary.split("\n\n")[1]
    assert "of the same noise" not in page.replace("not of the same noise", "")
    for section in ("memorisation", "marketing", "forgetting"):
        assert f'id="{section}"' not in page
    assert "6 of the baseline, 10 fine-tuned" in page


def test_pictures_go_through_as_they_are_and_nothing_is_trained_or_sampled(
    project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    named = hand_out(Path("theirs"), [*KNOWN, "seed"])
    before = {variant: read_samples(path)["image"] for variant, path in paths.SAMPLES.items()}
    shutil.rmtree("models/tiny")  # no base is needed
    run_on(project, named)
    assert "finetune: nothing is trained: pictures were handed in" in caplog.text
    for variant, path in paths.SAMPLES.items():
        assert name_images(path).keys() == set(read_samples(path)["file_name"])
        assert len(read_samples(path)) == len(before[variant])
    assert read_json(paths.TRAINING, "finetune")["num_trainable_parameters"] == 0
    assert pd.read_csv(paths.LOSS).empty
    with pytest.raises(UserError, match=r"^pictures.finetuned: .* no weights to export"):
        export.main()
    page, summary = write_report()
    assert "Nothing was trained or sampled here" in page
    assert "Are the pictures of <b>theirs/finetuned</b> better than those of" in page
    assert "are paired as the tables that came with them say" in summary
    assert read_json(paths.COST, "report") == {}
    plan.main()
    assert pd.read_csv(paths.PLAN)["minutes"].isna().all()
    study.main()
    assert len(pd.read_csv(paths.STUDY_KEY)) > 4


def test_a_picture_that_changes_between_two_stages_is_noticed(project: Path) -> None:
    named = hand_out(Path("theirs"), KNOWN)
    edit_params(project, "pictures", **named)
    preflight.main()
    one, other = sorted(Path(named["finetuned"]).glob("*.png"))[:2]
    shutil.copy(one, other)
    with pytest.raises(UserError, match=rf"{other}: changed after `preflight` looked at it; run"):
        prepare.main()


def test_check_notices_another_table_or_picture(project: Path) -> None:
    named = hand_out(Path("theirs"), KNOWN)
    edit_params(project, "pictures", **named)
    digests = []
    for place, change in enumerate(("metadata.csv", "metadata.csv", "cat-1_000.png")):
        if place:
            os.utime(f"{named['finetuned']}/{change}", ns=(place, place))
        check.main()
        digests.append(read_json(paths.CHECKED, "check")["finetuned"]["digest"])
    assert len(set(digests)) == 3
    shutil.rmtree("theirs")
    check.main()
    assert read_json(paths.CHECKED, "check")["finetuned"]["digest"] == digests[-1]


def write_report() -> tuple[str, str]:
    """The page and its summary."""
    write_json({}, paths.PREFERENCE_TABLES / "found.json")
    report.main()
    return paths.REPORT.read_text(), paths.SUMMARY.read_text()
