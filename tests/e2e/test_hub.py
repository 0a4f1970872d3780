"""The base comes from a hub: huggingface_hub itself, against a server on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_hub import COMMIT, NOWHERE, FakeHub, serve_hub
from tests.micro_project import Project
from tests.tiny import IMAGE_SIZE_PX, build_base
from tests.unit.stable_diffusion_project import edit_params

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.thorough
def test_a_base_is_downloaded_once_and_then_needs_no_network(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    base = {"model": "somebody/micro", "revision": COMMIT, "resolution_px": IMAGE_SIZE_PX}
    edit_params(project.folder, "bases", tiny=base)
    build_base(tmp_path / "micro")
    files = {
        str(path.relative_to(tmp_path / "micro")): path.read_bytes()
        for path in (tmp_path / "micro").rglob("*.*")
    }

    def run(endpoint: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), **variables}
        return subprocess.run(
            [sys.executable, "-m", "stages.preflight"],
            cwd=project.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    with serve_hub(FakeHub(files, "somebody/micro")) as hub:
        downloaded = run(hub.endpoint)
    assert downloaded.returncode == 0, downloaded.stderr
    assert "downloading from somebody/micro: scheduler/scheduler_config.json" in downloaded.stderr
    assert hub.starts == [0, 0, 0]  # U-Net, VAE, text encoder

    unreachable = run(NOWHERE)
    assert unreachable.returncode == 0, unreachable.stderr

    snapshot = tmp_path / "hf/hub/models--somebody--micro/snapshots" / COMMIT
    (snapshot / UNET).resolve().unlink()
    incomplete = run(NOWHERE, HF_HUB_OFFLINE="1")
    assert incomplete.returncode == 1
    errors = [line for line in incomplete.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1
    assert f"in the cache {tmp_path / 'hf/hub'} it lacks {UNET}; the hub was not asked" in errors[0]
    assert "Traceback" not in incomplete.stderr
