"""`python -m stages.run.launch`, two processes on the CPU: how they end when something goes wrong.

Each of them takes a while to import what it needs, hence slow.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from sys import executable

import pytest

from stages import encode
from stages.config import paths
from stages.config.mistakes import UserError
from stages.run.scratch import hold_stage
from tests.micro_project import ROOT
from tests.unit.stable_diffusion_project import build_project, edit_params

pytestmark = pytest.mark.slow
FSDP = """\
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config: {fsdp_version: 2, fsdp_reshard_after_forward: true, fsdp_offload_params: false}
mixed_precision: bf16
num_machines: 1
num_processes: 2
"""
"""As `accelerate config` writes it."""
SOON_S = 60.0
"""An end that takes longer is a hang; what an idle machine needs is a second or two."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launch") / "project"
    build_project(folder)
    edit_params(folder, "finetune", max_train_steps=100_000, validation_steps=100_000)
    edit_params(folder, "launch", num_processes=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        encode.main()
    return folder


@pytest.fixture
def training(project: Path) -> Iterator[Popen]:
    """A long training under way: two processes that have taken some steps."""
    with start(project, "finetune") as process:
        wait_for(lambda: list(project.glob("scratch/finetune/*/checkpoint.safetensors")))
        yield process
        process.kill()
    for checkpoint in project.glob("scratch/finetune/*/checkpoint.safetensors"):
        checkpoint.unlink()


def test_a_mistake_that_all_processes_meet_is_one_line(project: Path) -> None:
    with start(project, "sample", "finetuned") as process:
        output, _ = process.communicate()
    assert process.returncode == 1
    mistake = f"no file {paths.FINETUNED}/config.json; run `dvc repro finetune`, which writes it"
    assert [line for line in output.splitlines() if "error" in line.lower()] == [
        f"error: {mistake}"
    ]
    assert "Traceback" not in output


def test_what_fsdp_cannot_train_is_one_line(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    (folder / "fsdp.yaml").write_text(FSDP)
    edit_params(folder, "launch", config_file="fsdp.yaml")
    edit_params(folder, "finetune", method="lora")
    with start(folder, "finetune") as process:
        output, _ = process.communicate()
    assert process.returncode == 1
    # On a busy machine the other process may come to say the same before it is ended.
    (line,) = {line.replace("process 1: ", "") for line in output.splitlines()}
    assert line.startswith("error: params.yaml: finetune.method: found lora, which can't train")


def test_a_process_that_is_killed_ends_all_with_a_line_that_says_so(training: Popen) -> None:
    _, second = list_children(training.pid)
    os.kill(second, signal.SIGKILL)
    output, _ = training.communicate(timeout=SOON_S)
    assert training.returncode == 1
    assert "error: process 1 was ended by SIGKILL; was the memory too small?\n" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_after_the_same_step_and_leaves_a_checkpoint(
    training: Popen, name: signal.Signals
) -> None:
    children = list_children(training.pid)
    training.send_signal(name)
    output, _ = training.communicate(timeout=SOON_S)
    assert training.returncode == 130
    assert "Traceback" not in output
    assert output.count("interrupted after step") == 1
    assert not any(map(is_alive, children))


def test_processes_do_not_outlive_a_launcher_that_was_killed(
    project: Path, training: Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = list_children(training.pid)
    assert len(children) == 2
    training.kill()
    wait_for(lambda: not any(map(is_alive, children)))
    monkeypatch.chdir(project)
    wait_for(lambda: can_hold("finetune"), 60)  # threads end after the process that they are of


def can_hold(stage: str) -> bool:
    with suppress(UserError), hold_stage(stage):
        return True
    return False


def test_two_launches_at_once_do_not_fight_for_a_port(project: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        shutil.copytree(project, folder)
        edit_params(folder, "finetune", max_train_steps=4, validation_steps=4)
    processes = [start(folder, "finetune") for folder in folders]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    one, two = ((folder / paths.LOSS).read_bytes() for folder in folders)
    assert one == two
    assert "port" not in "".join(outputs)  # accelerate warns where one is taken


def start(folder: Path, *args: str) -> Popen:
    return Popen(
        [executable, "-m", "stages.run.launch", *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DVC_STAGE": args[0]},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )


def wait_for(is_true: Callable[[], object], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def list_children(pid: int) -> list[int]:
    """The processes that a process has started, in order."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie waits for its parent only
