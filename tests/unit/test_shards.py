"""The stages sample and score with shards: the same as with a file a picture."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages import reference, sample, score
from stages.config import paths
from stages.files.samples import Pictures, read_metadata
from tests.tiny import build_scorer
from tests.unit.stable_diffusion_project import build_project, edit_params, enter_copy

BASELINE = paths.SAMPLES / "baseline"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "project"
    build_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    edit_params(folder, "sample", images_per_class_prompt=3, images_per_marketing_prompt=3)
    edit_params(folder, "score", batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        reference.main()
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine pictures in batches of two; shards of two batches, once they are asked for."""
    folder = enter_copy(built, tmp_path, monkeypatch)
    edit_params(folder, "sample", pictures_per_shard=5)
    return folder


def shard(folder: Path) -> None:
    edit_params(folder, "sample", shard_above=8)


def read_scores() -> dict[str, bytes]:
    score.main("baseline")
    files = [*paths.SCORES.iterdir(), paths.METRICS / "baseline.json"]
    return {str(path): path.read_bytes() for path in files}


def test_shards_hold_the_metadata_and_bytes_of_the_files(project: Path) -> None:
    sample.main("baseline")
    expected = read_metadata(BASELINE)
    files = {name: (BASELINE / name).read_bytes() for name in expected["file_name"]}
    scores = read_scores()
    shard(project)
    sample.main("baseline")
    assert sorted(path.name for path in BASELINE.iterdir()) == [
        f"samples-0000{number}-of-00003.parquet" for number in range(3)
    ]
    assert read_metadata(BASELINE).equals(expected)
    assert dict(Pictures(BASELINE, expected["file_name"].tolist())) == files
    assert read_scores() == scores


def test_as_many_pictures_as_the_limit_are_files(project: Path) -> None:
    edit_params(project, "sample", shard_above=9)
    sample.main("baseline")
    assert (BASELINE / "metadata.csv").exists()
    assert not list(BASELINE.glob("*.parquet"))


def test_a_killed_sampling_goes_on_after_whole_shards(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(project)
    sample.main("baseline")
    expected = {path.name: path.read_bytes() for path in BASELINE.iterdir()}
    shutil.rmtree(paths.SCRATCH)
    sizes, real = [], sample.sample_pictures

    def count(sampler: object, prompts: list[str], seeds: list[int]) -> object:
        sizes.append(len(prompts))
        return real(sampler, prompts, seeds)

    def interrupt(*args: object) -> object:
        if len(sizes) == 2:  # the first shard is written, the second begun
            raise KeyboardInterrupt
        return count(*args)

    monkeypatch.setattr(sample, "sample_pictures", interrupt)
    monkeypatch.setattr(sample, "build_workers", lambda _: ThreadPoolExecutor(1))
    with pytest.raises(KeyboardInterrupt):
        sample.main("baseline")
    sizes.clear()
    monkeypatch.setattr(sample, "sample_pictures", count)
    sample.main("baseline")
    assert sizes == [2, 2, 1]
    assert {path.name: path.read_bytes() for path in BASELINE.iterdir()} == expected


def test_a_damaged_shard_is_sampled_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard(project)
    sample.main("baseline")
    expected = {path.name: path.read_bytes() for path in BASELINE.iterdir()}
    damaged = next(paths.SCRATCH.glob("sample@baseline/*/pictures/samples-00001-*"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")  # of the same size
    sizes, real = [], sample.sample_pictures
    monkeypatch.setattr(
        sample, "sample_pictures", lambda s, p, seeds: sizes.append(len(p)) or real(s, p, seeds)
    )
    sample.main("baseline")
    assert sizes == [2, 2]
    assert {path.name: path.read_bytes() for path in BASELINE.iterdir()} == expected
