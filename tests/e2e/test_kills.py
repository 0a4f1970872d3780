"""Training and sampling, killed at random moments, end with the bytes of an undisturbed run.

The short version of `make torture`: without DVC, and forked from a process that has imported torch.
"""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages import encode, finetune, sample
from stages.config import paths
from tests.unit.stable_diffusion_project import build_project, edit_params

NUM_KILLS = 4
STAGES = {
    "encode": (encode.main, (), []),
    "finetune": (finetune.main, (), [paths.FINETUNED, paths.LOSS, paths.VALIDATION_LOSS]),
    "sample": (sample.main, ("baseline",), [paths.SAMPLES["baseline"]]),
}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["stages.encode", "stages.finetune", "stages.sample"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "project"
    build_project(folder)
    edit_params(folder, "finetune", max_train_steps=40, checkpoint_steps=5, validation_steps=20)
    edit_params(folder, "sample", images_per_in_domain_prompt=6, images_per_marketing_prompt=6)
    run(folder, "encode")
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["finetune", "sample"])
def test_a_stage_killed_at_random_moments_ends_with_the_undisturbed_bytes(project, name):
    start = time.monotonic()
    run(project, name)
    duration = time.monotonic() - start
    expected = take_results(project, name)
    shutil.rmtree(project / paths.SCRATCH)
    moments = random.Random(name)
    num_killed = 0
    for _ in range(NUM_KILLS):
        num_killed += run(project, name, kill_after=moments.uniform(0, duration)) == -9
        take_results(project, name)
    run(project, name)
    assert num_killed
    assert take_results(project, name) == expected


def test_ctrl_c_while_a_stage_still_imports_has_no_traceback():
    # As under `python -m stages.NAME`, whose modules take seconds.
    code = "import sys; sys.argv[0] = '-m'; import stages, time; print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == ""
    assert process.returncode == -signal.SIGINT


def run(folder: Path, name: str, kill_after: float | None = None) -> int:
    """Run a stage in a process of its own, or kill -9 it after some seconds; its exit code."""
    process = CONTEXT.Process(target=run_here, args=(folder, name))
    process.start()
    process.join(kill_after)
    process.kill()
    process.join()
    assert process.exitcode in ((0, -9) if kill_after else (0,))
    return process.exitcode


def run_here(folder: Path, name: str) -> None:
    os.chdir(folder)
    main, args, _ = STAGES[name]
    main(*args)


def take_results(folder: Path, name: str) -> dict[str, bytes]:
    """Read what a stage wrote, and remove it, as DVC does before it runs a stage again."""
    found = {}
    for path in (folder / result for result in STAGES[name][2]):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found |= {file.name: file.read_bytes() for file in files if file.is_file()}
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return found
