import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.commands.study import main
from stages.config import paths
from stages.config.mistakes import UserError
from stages.reporting import study as study_page
from stages.study.key import read_key
from stages.study.pairs import count_checks
from tests.experiments import replace_in_params, write_experiments
from tests.study_project import (
    answer_study,
    prefer,
    set_num_pairs,
    write_project,
    write_variant,
)

SEEDS = {"attn2": 2, "lora": 3, "full": 4}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project()
    set_num_pairs(20)
    return tmp_path


def write_experiment(name: str) -> None:
    if name == "guided":
        replace_in_params("guidance_scale: 7.5", "guidance_scale: 5")
    for variant, seed in (("baseline", 1), ("finetuned", SEEDS.get(name, 5))):
        paths.SAMPLES[variant].parent.mkdir(parents=True, exist_ok=True)
        write_variant(variant, seed)


@pytest.fixture
def _experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with the experiments, where `dvc exp` puts them."""
    monkeypatch.chdir(tmp_path)
    names = (*SEEDS, "guided")
    write_experiments({name: partial(write_experiment, name) for name in names})


@pytest.mark.usefixtures("project")
def test_without_experiments_it_is_of_baseline_and_finetuned_and_the_same_when_made_again():
    main()
    key = read_key(paths.STUDY_KEY)
    assert len(key) == 20 + sum(count_checks(20).values())
    page = paths.STUDY_PAGE.read_bytes()
    main()
    assert paths.STUDY_PAGE.read_bytes() == page
    assert read_key(paths.STUDY_KEY).equals(key)


@pytest.mark.usefixtures("project")
def test_the_page_names_no_arm_no_file_and_nothing_of_the_key():
    main()
    page = paths.STUDY_PAGE.read_text(encoding="utf-8")
    key = read_key(paths.STUDY_KEY)
    for word in ("baseline", "finetuned", "fine-tuned", "destroyed", "in_domain", ".png"):
        assert not re.search(rf"\b{re.escape(word)}\b", page)
    for column in ("file_name", "prompt_id", "digest_a", "digest_b"):
        assert not [value for value in key[column] if value and f'"{value}' in page]
    assert len(set(map(len, re.findall(r"data:image/png;base64,([\w+/=]+)", page)))) == 1
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.thorough
@pytest.mark.usefixtures("_experiments")
def test_experiments_are_compared_by_their_own_pictures():
    main("lora", "attn2")
    key = read_key(paths.STUDY_KEY)
    assert {*key["arm_a"], *key["arm_b"]} - {""} == {"lora", "attn2"}
    main("lora")
    key = read_key(paths.STUDY_KEY)
    assert {*key["arm_a"], *key["arm_b"]} - {""} == {"baseline", "lora"}
    main("baseline", "lora", "full")
    key = read_key(paths.STUDY_KEY)
    assert {*key["arm_a"], *key["arm_b"]} - {""} == {"baseline", "lora", "full"}


@pytest.mark.usefixtures("_experiments")
def test_what_cannot_be_compared_is_refused():
    with pytest.raises(
        UserError, match=r"guided: sample\.guidance_scale is 5\.0, in lora it is 7\.5"
    ):
        main("lora", "guided")
    with pytest.raises(UserError, match=r"nonsense: no params\.yaml"):
        main("lora", "nonsense")
    with pytest.raises(UserError, match="lora: named twice"):
        main("lora", "lora")
    with pytest.raises(UserError, match="baseline: name an experiment to compare it with"):
        main("baseline")


@pytest.mark.usefixtures("_experiments")
def test_pictures_that_are_not_there_are_said_with_what_gets_them(monkeypatch):
    monkeypatch.setitem(paths.SAMPLES, "finetuned", Path("data/samples/gone.parquet"))
    with pytest.raises(
        UserError, match=r"lora: no data/samples/gone\.parquet .*dvc pull --rev lora"
    ):
        main("lora", "attn2")


def test_pictures_of_other_noise_are_refused(project):
    samples = pd.read_parquet(project / paths.SAMPLES["finetuned"])
    samples["seed"] = samples["seed"].to_numpy()[::-1]
    samples.to_parquet(project / paths.SAMPLES["finetuned"])
    with pytest.raises(UserError, match="finetuned: its pictures are not of the prompts and noise"):
        main()


def test_a_key_with_votes_on_it_is_not_lost(project):
    main()
    key = read_key(paths.STUDY_KEY)
    (paths.VOTES / "a.csv").write_text(answer_study(key, 7, prefer("finetuned")), encoding="utf-8")
    main()
    write_variant("finetuned", 9)
    with pytest.raises(
        UserError, match=rf"is the key of study {key['study'][0]}, on which there are"
    ):
        main()
    assert read_key(paths.STUDY_KEY).equals(key)
    shutil.rmtree(project / paths.VOTES)
    main()


def test_a_page_that_would_be_too_large_says_how_many_pairs_fit(project, monkeypatch):
    monkeypatch.setattr("stages.commands.study.PICTURE_BYTES", 20_000)
    for number, variant in enumerate(paths.VARIANTS):
        write_variant(variant, number, side_px=64)
    with pytest.raises(
        UserError, match=r"found 20; a page of .* 64 x 64 px .*; at most \d+ fit"
    ) as no:
        main()
    count = int(re.search(r"at most (\d+) fit", str(no.value))[1])
    assert 0 < count < 20
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("num_pairs: 20 ", f"num_pairs: {count} "))
    main()


@pytest.mark.thorough
def test_forty_pairs_of_512_px_fit_in_fifteen_megabytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_project()
    for number, variant in enumerate(paths.VARIANTS):
        write_variant(variant, number, side_px=512, detail_px=64)
    main()
    assert paths.STUDY_PAGE.stat().st_size < study_page.MAX_PAGE_BYTES
    page = paths.STUDY_PAGE.read_text(encoding="utf-8")
    assert len(set(map(len, re.findall(r"data:image/webp;base64,([\w+/=]+)", page)))) == 1


def list_features(page: str) -> pd.DataFrame:
    """All that a page says of the first and the second picture of a trial, but for pixels.

    Place of the trial, of its pictures in the list of pictures, letters of the names, lengths of
    names, texts and files, and the letters of the texts.
    """
    text = re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.DOTALL)
    data = json.loads(text[1])
    order = {name: place for place, name in enumerate(data["pictures"])}
    rows = []
    for part in ("early", "late"):
        for place, (name, words, a, b) in enumerate(data[part]):
            digits = [int(letter, 16) for letter in f"{name}{a}{b}"]
            files = [len(data["pictures"][picture]) for picture in (a, b)]
            places = [order[a], order[b], order[a] < order[b]]
            sizes = [len(words), *files, *(page.index(f'"{n}":') for n in (a, b))]
            rows.append(
                {
                    "trial": name,
                    "x": np.array([part == "early", place, *digits, *places, *sizes], float),
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.thorough
def test_nothing_but_pixels_tells_the_arms_apart_over_fifty_seeds(tmp_path, monkeypatch):
    """A nearest neighbour and a logistic fit, trained on 40 pages, are at chance on ten others.

    The arms differ by as much as they can: one is of plain pictures, the other of noise.
    """
    monkeypatch.chdir(tmp_path)
    write_project()
    write_variant("finetuned", 2, contrast=3)
    set_num_pairs(40)
    features, is_first, pages = [], [], []
    text = Path("params.yaml").read_text(encoding="utf-8")
    for seed in range(50):
        new = text.replace(
            "  seed: 0                 # which pictures, and in",
            f"  seed: {seed}  # which pictures, and in",
        )
        assert seed == 0 or new != text
        Path("params.yaml").write_text(new, encoding="utf-8")
        main()
        key = read_key(paths.STUDY_KEY)
        found = list_features(paths.STUDY_PAGE.read_text(encoding="utf-8")).merge(key, on="trial")
        pairs = found[found["kind"] == "pair"]
        features += list(pairs["x"])
        is_first += list(pairs["arm_a"] == "finetuned")
        pages += [seed] * len(pairs)
    x, y, page = np.array(features), np.array(is_first), np.array(pages)
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    is_test = page >= 40
    num_tested = int(is_test.sum())
    for guess in (guess_by_neighbour, guess_by_fit):
        num_right = int((guess(x[~is_test], y[~is_test], x[is_test]) == y[is_test]).sum())
        assert abs(num_right / num_tested - 0.5) < 3 * (0.25 / num_tested) ** 0.5
    assert abs(y.mean() - 0.5) < 3 * (0.25 / len(y)) ** 0.5
    # The classifiers work: told whose a picture is by a sign of its size, they find it.
    told = np.column_stack([x, 5 * y + np.random.default_rng(0).normal(size=len(y))])
    for guess in (guess_by_neighbour, guess_by_fit):
        assert (guess(told[~is_test], y[~is_test], told[is_test]) == y[is_test]).mean() > 0.7


def guess_by_neighbour(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    distances = ((new[:, None] - x) ** 2).sum(axis=2)
    return y[distances.argmin(axis=1)]


def guess_by_fit(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Logistic regression by gradient descent, with a small penalty."""
    weights, target = np.zeros(x.shape[1]), y.astype(float)
    for _ in range(500):
        error = 1 / (1 + np.exp(-x @ weights)) - target
        weights -= 0.5 * (x.T @ error / len(x) + 1e-3 * weights)
    return new @ weights > 0
