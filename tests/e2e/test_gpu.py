"""`pytest -m gpu`: every stage once on a GPU, in the precision that GPUs are for."""

from pathlib import Path

import pytest
import torch

from tests.micro_project import STAGES, Project
from tests.unit.stable_diffusion_project import edit_params


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_every_stage_runs_on_a_gpu(tmp_path: Path, precision: str) -> None:
    project = Project(tmp_path / "project")
    project.set_micro_params()
    edit_params(project.folder, "bases", tiny={"precision": precision})
    edit_params(project.folder, "finetune", max_train_steps=4)
    assert project.repro() == set(STAGES)
    trained = project.read_json("plots/data/finetune.json")
    assert trained["num_steps"] == 4
    assert trained.get("update_kept", 1) > 0.99
    assert project.read_json("metrics/comparison.json")["bad_pictures"] == 0
    used = project.read_json("plots/data/cost_finetune.json")["peak_memory_mib"]
    assert 0 < used < torch.cuda.get_device_properties(0).total_memory / 2**20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_the_null_control_says_how_far_from_0_it_is(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.set_micro_params()  # trained for 0 steps
    edit_params(project.folder, "bases", tiny={"precision": "fp16"})
    assert project.repro() == set(STAGES)
    assert "Nothing was trained" in (project.folder / "plots/report.md").read_text()
