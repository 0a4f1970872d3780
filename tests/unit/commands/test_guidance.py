import io
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from stages.commands.guidance import main
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.tables import write_json, write_table
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.scorer import load_scorer
from tests.experiments import replace_in_params, write_experiments
from tests.study_project import draw_pictures, list_samples, write_scores, write_variant
from tests.tiny import build_scorer

LOOKS = {0: 1, 30: 2, 100: 3}
"""Which pictures there are at each scale."""
JUDGED = {30: 0.25, 100: 0.5}
"""What the judge's cosine gains."""
DURATIONS_S = {0: 10.0, 30: 40.0, 100: 50.0}


def write_experiment(scale: int, more: str = "") -> None:
    replace_in_params("clip_guidance_scale: 0.0 ", f"clip_guidance_scale: {scale} ")
    replace_in_params("guide: local-dir:models/tiny-guide", "guide: local-dir:guide")
    if more:
        replace_in_params("guidance_scale: 7.5 ", more)
    write_scores()
    first = pd.read_csv(paths.SCORES["baseline"], keep_default_na=False)
    gained = first.assign(clip_cosine=first["clip_cosine"] + JUDGED.get(scale, 0.0))
    for variant in paths.VARIANTS:
        write_variant(variant, LOOKS[scale])
        write_table(gained, paths.SCORES[variant])
        write_json({"duration_s": DURATIONS_S[scale]}, paths.SAMPLING_COST[variant])


@pytest.fixture(autouse=True)
def _experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with the experiments, where `dvc exp` puts them, and with their guide."""
    monkeypatch.chdir(tmp_path)
    build_scorer(tmp_path / "guide", seed=1)
    write = {f"scale-{scale}": partial(write_experiment, scale) for scale in LOOKS}
    write["weak"] = partial(write_experiment, 30, "guidance_scale: 5 ")
    write_experiments(write)
    replace_in_params("guide: local-dir:models/tiny-guide", "guide: local-dir:guide")


def measure_by_hand(scale: int) -> pd.Series:
    """The guide's mean cosine of each set of prompts, without a table or a decoder."""
    guide = load_scorer("local-dir:guide", None)
    rows = list_samples()
    pictures = [Image.open(io.BytesIO(data)) for data in draw_pictures(LOOKS[scale])]
    images = embed_images(guide, pictures)
    cosines = (images * embed_texts(guide, rows["prompt"].tolist())).sum(dim=-1)
    by_prompt = rows.assign(cosine=cosines.numpy()).groupby(["set", "prompt_id"])["cosine"].mean()
    return by_prompt.groupby("set").mean()


def test_the_guide_looks_at_every_picture_and_is_compared_with_the_judge() -> None:
    main("scale-100", "scale-0", "scale-30")
    table = pd.read_csv(paths.GUIDANCE)
    assert list(zip(table["variant"], table["scale"], strict=True))[::2] == [
        (variant, scale) for variant in paths.VARIANTS for scale in (30, 100)
    ]
    assert set(table["first_scale"]) == {0}
    assert table["judge_gain"].tolist() == pytest.approx(table["scale"].map(JUDGED).tolist())
    unled = measure_by_hand(0)
    for row in table.to_dict("records"):
        gained = measure_by_hand(row["scale"])[row["set"]] - unled[row["set"]]
        assert row["guide_gain"] == pytest.approx(gained, abs=1e-5)
        assert row["ahead_gain"] == pytest.approx(gained - row["judge_gain"], abs=1e-5)
        assert row["ahead_ci_low"] < row["ahead_gain"] < row["ahead_ci_high"]
        num_pictures = len(list_samples())
        seconds = DURATIONS_S[row["scale"]] / num_pictures
        assert row["seconds_per_picture"] == pytest.approx(seconds)
        assert row["first_seconds_per_picture"] == pytest.approx(10 / num_pictures)


def test_the_page_has_the_gains_and_what_a_picture_costs() -> None:
    main("scale-0", "scale-100")
    page = paths.GUIDANCE_PAGE.read_text(encoding="utf-8")
    assert page.count("+0.5000") >= 4
    assert "<td>5.0</td>" in page
    assert "<script src=" not in page


def test_experiments_that_differ_in_more_than_the_scale_are_refused() -> None:
    with pytest.raises(UserError, match=r"weak: sample\.guidance_scale is 5\.0, in scale-0 it is"):
        main("scale-0", "weak")


@pytest.mark.parametrize("names", [("scale-30",), ("scale-30", "again")])
def test_fewer_than_two_scales_are_refused(names: tuple[str, ...]) -> None:
    for name in names[1:]:
        copy_experiment("scale-30", name)
    with pytest.raises(UserError, match=r"sample\.clip_guidance_scale: should be another one in"):
        main(*names)


def copy_experiment(name: str, copy: str) -> None:
    (ref,) = Path(".git/refs/exps").rglob(name)
    ref.with_name(copy).write_text(ref.read_text())
