"""`dvc repro` in a temporary copy of the project, on a micro base with random weights."""

import hashlib
import time

import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages.config import paths
from tests.micro_project import STAGES, Project
from tests.pictures import decode_levels, name_images
from tests.torture.evidence import INPUTS, compare_results, read_results

CACHED = ("data", "models/finetuned", "plots/grids")
"""Folders of outputs that DVC's cache keeps, and git does not."""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.set_micro_params()
    assert project.repro() == set(STAGES)
    return project


def test_null_control_gives_equal_pictures_and_differences_of_zero(project):
    # The fixture ran with max_train_steps: 0.
    baseline, finetuned = (name_images(project.folder / paths.SAMPLES[v]) for v in paths.VARIANTS)
    assert len(baseline) == 50 + 6 * 2
    assert list(baseline) == list(finetuned)
    differing = {
        name: measure_difference(image, finetuned[name])
        for name, image in baseline.items()
        if image != finetuned[name]
    }
    assert differing == {}, "of each picture: how many values differ, and the most, of 255"
    by_prompt = pd.read_csv(project.folder / "plots/data/comparison/by_prompt.csv")
    assert (by_prompt["difference"] == 0).all()
    by_class = pd.read_csv(project.folder / "plots/data/comparison/by_class.csv")
    verdicts = by_class[["verdict", "given_prompts_verdict"]]
    assert verdicts.eq("no difference shown").all(axis=None)
    page = (project.folder / "plots/report.html").read_text()
    assert "no difference" in page
    assert "Nothing was trained, and CLIP is equal for all pictures" in page


def test_repro_again_runs_nothing(project):
    assert project.repro() == {"check"}


def test_scoring_key_does_not_retrain(project):
    project.set_params({"score": {"zero_shot_template": "a picture of a {}"}})
    ran = project.repro()
    scored = {"score@baseline", "score@finetuned"}
    assert ran <= {"check", *scored, "compare", "preference", "report"}
    assert {"score@baseline", "score@finetuned", "report"} <= ran


def test_training_moves_the_finetuned_pictures_only(project):
    before = project.hash_files("data/samples")
    project.set_params({"finetune": {"max_train_steps": 4, "learning_rate": 1e-2}})
    ran = project.repro()
    assert {"finetune", "sample@finetuned", "score@finetuned", "compare", "report"} <= ran
    assert not {"prepare", "encode", "sample@baseline", "score@baseline"} & ran
    after = project.hash_files("data/samples")
    changed = [name for name, digest in before.items() if after[name] != digest]
    assert changed == [str(paths.SAMPLES["finetuned"])]
    assert project.read_json("plots/data/finetune.json")["num_trainable_tensors"] > 0


@pytest.mark.thorough
def test_a_changed_table_of_prompts_is_read_and_encodes_nothing_again(project):
    table, prompts = (project.folder / "data" / f for f in ("extra_prompts.csv", "prompts.csv"))
    header, before = table.read_text(), prompts.read_text()
    table.write_text(f"{header}marketing,hat,a blue hat\n")
    assert project.repro("encode", "embed") == {"check", "preflight", "prepare"}
    after = prompts.read_text()
    assert after.startswith(before)
    assert after.endswith("marketing,hat,a blue hat,a blue hat,broad\n")
    table.write_text(f"{header}advert,hat,a blue hat\n")
    result = project.run("dvc", "repro", "encode")
    mistake = 'data/extra_prompts.csv, line 2: found set "advert"; should be in_domain or marketing'
    assert f"error: {mistake}\n" in result.stderr
    assert prompts.read_text() == after
    table.write_text(header)
    project.repro("encode")
    assert prompts.read_text() == before


def test_damaged_pictures_leave_earlier_results_as_they_were(project):
    results = ("data", "metrics", "models/finetuned", "plots")
    before = project.hash_files(*results)
    good = (project.folder / "params.yaml").read_text()
    pictures = project.folder / "pictures"
    for name in YAML(typ="safe").load(good)["prepare"]["classes"]:
        (pictures / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(pictures / name / f"{number}.png")
    damaged = pictures / "cat" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    data = {"source": "imagefolder", "root": "pictures"}
    bases = YAML(typ="safe").load(good)["bases"]
    bases["tiny"]["data"].update(data)
    project.set_params({"bases": bases})
    result = project.try_repro()
    (project.folder / "params.yaml").write_text(good)
    assert result.returncode != 0
    assert "error: pictures/cat/1.png: not a whole picture" in result.stderr
    assert "Traceback" not in result.stderr
    after = project.hash_files(*results)
    changed = {name for name, digest in before.items() if after.get(name) != digest}
    own = (paths.CHECKED, paths.SUBJECT, paths.CHOSEN, paths.LEFT_OUT)
    assert changed <= set(map(str, own))  # what these two stages write themselves


def test_bad_params_leave_earlier_results_as_they_were(project):
    results = ("data/samples", "data/scores", "metrics", "models/finetuned", "plots")
    before = project.hash_files(*results)
    good = (project.folder / "params.yaml").read_text()
    (project.folder / "params.yaml").write_text(good.replace("max_train_steps", "max_train_stepz"))
    result = project.try_repro()
    (project.folder / "params.yaml").write_text(good)
    assert result.returncode != 0
    assert "error: params.yaml: finetune.max_train_stepz" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.hash_files(*results) == before


@pytest.mark.thorough
def test_forced_rerun_gives_the_same_bytes(project):
    project.repro()
    before = read_results(project.folder)
    result = project.run("dvc", "repro", "-f")  # each stage by an interpreter of its own
    assert result.returncode == 0, result.stderr
    assert compare_results(before, read_results(project.folder)) == []


@pytest.mark.thorough
def test_outputs_that_were_cut_off_come_back_from_the_cache(project):
    project.repro()
    before = project.hash_files(*CACHED)
    for name in CACHED:
        for path in (project.folder / name).rglob("*"):
            if path.is_file() and path.name not in INPUTS and path.stat().st_size:
                cut_off(path)
    assert project.hash_files(*CACHED) != before
    assert project.repro() == {"check"}
    assert project.hash_files(*CACHED) == before


@pytest.mark.thorough
def test_an_output_that_was_cut_off_in_the_cache_too_is_made_again(project):
    project.repro()
    path = project.folder / "data/image_embeds.safetensors"
    before = path.read_bytes()
    digest = hashlib.md5(before, usedforsecurity=False).hexdigest()
    for file in (path, project.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]):
        cut_off(file)
    assert project.repro() == {"check", "embed"}
    assert path.read_bytes() == before


@pytest.mark.thorough
def test_a_second_repro_beside_the_first_is_refused(project):
    project.repro()
    first = project.start("dvc", "repro", "-s", "-f", "sample@baseline")
    lock = project.folder / ".dvc/tmp/rwlock"
    while not (lock.is_file() and "sample@baseline" in lock.read_text()):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    second = project.run("dvc", "repro", "-s", "-f", "sample@baseline")
    output, _ = first.communicate()
    assert second.returncode != 0
    assert "is busy, it is being blocked by" in second.stderr
    assert first.returncode == 0, output


def measure_difference(*images: bytes) -> tuple[int, int]:
    """How many values of two pictures differ, and by how much at the most: rounding or more?"""
    first, second = map(decode_levels, images)
    difference = abs(first - second)
    return int((difference > 0).sum()), int(difference.max())


def cut_off(path):
    """Leave the first half of a file, as if the disk had lost the rest."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[: len(data) // 2])
