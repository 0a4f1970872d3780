"""`dvc repro` with weights that others trained: what runs, what does not, and what it says."""

import html

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard

from tests import foreign
from tests.micro_project import MICRO, STAGES, Project

pytestmark = pytest.mark.thorough
AFTER = {"check", "sample@finetuned", "score@finetuned", "compare", "preference", "report"}
"""What a strength concerns."""
APPLIED = "LoRA: 60 of 60 modules, rank 4, alpha 8, on U-Net and text encoder"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    write_adapter(project, alpha=8)
    project.set_micro_params(
        {
            "finetune": MICRO["finetune"] | {"method": "import"},
            "import": {"path": "theirs.safetensors"},
        }
    )
    assert project.repro() == set(STAGES)
    return project


def test_the_report_says_what_was_applied(project: Project) -> None:
    page = html.unescape((project.folder / "plots/report.html").read_text())
    assert APPLIED in page
    assert "Did fine-tuning elsewhere (imported weights) help?" in page
    assert project.read_json("plots/data/finetune.json")["applied"] == APPLIED


def test_the_card_has_the_verdict_while_nothing_is_stale(project: Project) -> None:
    for strength, is_judged in ((1.0, True), (0.5, False)):
        project.set_params({"import": {"strength": strength}})
        result = project.run("python", "-m", "stages.commands.export", "apache-2.0")
        assert result.returncode == 0, result.stderr
        card = ModelCard.load(project.folder / "models/exported/README.md")
        assert card.data.license == "apache-2.0"
        assert APPLIED in card.text
        assert ("| in-domain | 50 | 50 |" in card.text) == is_judged
        assert ("Not judged yet" in card.text) != is_judged
    assert "sample@finetuned, report would run again" in result.stderr
    assert (project.folder / "plots/report.md").read_text().count("| in-domain | 50 | 50 |") == 1


def test_a_strength_trains_nothing_and_samples_no_baseline(project: Project) -> None:
    project.set_params({"import": {"strength": 0.0}})
    assert project.repro() == AFTER
    by_prompt = pd.read_csv(project.folder / "plots/data/comparison/by_prompt.csv")
    assert (by_prompt["difference"] == 0).all()
    project.set_params({"import": {"strength": 1.0}})
    project.repro()
    by_prompt = pd.read_csv(project.folder / "plots/data/comparison/by_prompt.csv")
    assert (by_prompt["difference"] != 0).any()


def test_another_file_of_the_same_name_is_noticed(project: Project) -> None:
    write_adapter(project, alpha=2)
    ran = project.repro()
    assert {"preflight", "finetune", "sample@finetuned"} <= ran
    assert not {"embed", "encode", "sample@baseline"} & ran
    assert "alpha 2" in project.read_json("plots/data/finetune.json")["applied"]


def test_a_file_that_is_gone_leaves_results_as_they_are(project: Project) -> None:
    (project.folder / "theirs.safetensors").rename(project.folder / "gone.safetensors")
    assert project.repro() == {"check"}
    (project.folder / "gone.safetensors").rename(project.folder / "theirs.safetensors")


def test_a_pickle_is_refused_before_any_result_is_touched(project: Project) -> None:
    before = project.hash_files("data", "models/finetuned", "metrics")
    (project.folder / "theirs.ckpt").write_bytes(b"PK\x03\x04")
    project.set_params({"import": {"path": "theirs.ckpt"}})
    result = project.run("dvc", "repro")
    assert result.returncode != 0
    assert "theirs.ckpt is a pickle" in result.stderr + result.stdout
    after = project.hash_files("models/finetuned", "metrics", "data/samples")
    assert after.items() <= before.items()
    project.set_params({"import": {"path": "theirs.safetensors"}})


def write_adapter(project: Project, alpha: float) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(project.folder / "models/tiny")
    layers = foreign.list_kohya_layers(pipeline.unet, pipeline.text_encoder)
    foreign.save(foreign.write_kohya(layers, 4, alpha), project.folder / "theirs.safetensors")
