"""Two machines on one: two launchers on loopback, each of which believes that it is a machine.

Each of them takes a while to import what it needs, hence slow.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from sys import executable

import pytest

from stages import embed, encode, finetune, sample, score
from stages.config import paths
from tests.e2e.processes import run_processes
from tests.e2e.test_launch import SOON_S, is_alive, list_children, wait_for
from tests.micro_project import ROOT
from tests.tiny import build_scorer
from tests.unit.stable_diffusion_project import build_project, edit_params

pytestmark = pytest.mark.slow
SAMPLES = paths.SAMPLES["finetuned"]
LONG = {"max_train_steps": 100_000, "validation_steps": 100_000}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines") / "project"
    build_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    edit_params(folder, "launch", num_processes=2, num_machines=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        encode.main()
        embed.main()
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy, whose machines meet at a port of its own."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder)
    with socket.create_server(("", 0)) as free:
        edit_params(folder, "launch", main_process_port=free.getsockname()[1])
    return folder


@pytest.fixture
def training(project: Path) -> Iterator[list[Popen]]:
    """A long training under way, on two machines of a process each."""
    edit_params(project, "finetune", **LONG)
    machines = [start(project, rank, "finetune") for rank in (0, 1)]
    wait_for(lambda: list(project.glob("scratch/finetune/*/checkpoint.safetensors")))
    yield machines
    for machine in machines:
        machine.kill()
        machine.communicate()


def test_two_machines_write_what_two_processes_of_one_write(project: Path) -> None:
    alone = project.with_name("alone")
    shutil.copytree(project, alone)
    results = [paths.FINETUNED / "unet.safetensors", SAMPLES, paths.SCORES["finetuned"]]
    run_processes(alone, 2, finetune.main)
    run_processes(alone, 2, sample.main, "finetuned")
    run_processes(alone, 2, score.main, "finetuned")
    for stage in (["finetune"], ["sample", "finetuned"], ["score", "finetuned"]):
        # Machine 1 names no stage: it runs what machine 0 runs.
        machines = [start(project, 0, *stage), start(project, 1)]
        outputs = [machine.communicate()[0] for machine in machines]
        assert [machine.returncode for machine in machines] == [0, 0], outputs
    for path in results:
        assert (project / path).read_bytes() == (alone / path).read_bytes(), path


def test_a_machine_is_told_that_there_are_no_more_stages(project: Path) -> None:
    machines = [start(project, rank) for rank in (0, 1)]
    outputs = [machine.communicate(timeout=SOON_S)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 1]
    assert outputs[1].endswith("launch: machine 0 has no more stages\n")


@pytest.mark.parametrize("dying", [0, 1])
def test_the_other_machine_ends_soon_when_one_is_gone(training: list[Popen], dying: int) -> None:
    other = training[1 - dying]
    children = list_children(other.pid)
    training[dying].kill()
    output, _ = other.communicate(timeout=SOON_S)
    assert other.returncode == 1
    assert list_errors(output) == [f"error: machine {dying} is gone: its launcher was killed"]
    wait_for(lambda: not any(map(is_alive, children)))


def test_the_other_machine_says_why_one_failed(training: list[Popen]) -> None:
    (worker,) = list_children(training[1].pid)
    os.kill(worker, signal.SIGKILL)
    reason = "process 1 was ended by SIGKILL; was the memory too small?"
    outputs = [machine.communicate(timeout=SOON_S)[0] for machine in training]
    assert [machine.returncode for machine in training] == [1, 1]
    assert list_errors(outputs[0]) == [f"error: machine 1 failed: {reason}"]
    assert list_errors(outputs[1]) == [f"error: {reason}"]


def test_a_machine_that_is_silent_is_gone(training: list[Popen]) -> None:
    frozen = [training[1].pid, *list_children(training[1].pid)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    output, _ = training[0].communicate(timeout=30 + SOON_S)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert list_errors(output) == ["error: machine 1 is gone: it gave no sign of life for 30 s"]


@pytest.mark.parametrize("asked", [0, 1])
def test_ctrl_c_on_either_machine_ends_both_with_a_checkpoint(
    training: list[Popen], asked: int
) -> None:
    training[asked].send_signal(signal.SIGINT)
    outputs = [machine.communicate(timeout=SOON_S)[0] for machine in training]
    assert [machine.returncode for machine in training] == [130, 130], outputs
    assert outputs[0].count("interrupted after step") == 1
    assert list_errors("".join(outputs)) == []


def test_ctrl_c_on_one_machine_ends_what_shares_no_steps(project: Path) -> None:
    edit_params(project, "sample", num_inference_steps=20, images_per_in_domain_prompt=1000)
    machines = [start(project, rank, "sample", "baseline") for rank in (0, 1)]
    try:
        wait_for(lambda: list(project.glob("scratch/sample@baseline/*/batch_*.parquet")))
        machines[1].send_signal(signal.SIGINT)
        outputs = [machine.communicate(timeout=SOON_S)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [130, 130], outputs
    assert "machine 1 was interrupted\n" in outputs[0]
    assert list_errors("".join(outputs)) == []


def start(folder: Path, rank: int, *command: str) -> Popen:
    place = {"MACHINE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return Popen(
        [executable, "-m", "stages.run.launch", *command],
        cwd=folder,
        env=os.environ | place | {"PYTHONPATH": str(ROOT)},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )


def list_errors(output: str) -> list[str]:
    """The lines of what went wrong; a traceback has many."""
    words = ("error", "traceback", "bug", "warning")
    return [line for line in output.splitlines() if any(word in line.lower() for word in words)]
