import os
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.config.mistakes import UserError
from stages.config.params import LaunchParams
from stages.run.launch import OWN_CONFIG, build_arguments, main, run_processes, word_failure
from stages.run.machines import Place
from stages.run.processes import SHARDED


def build_launch(**changes: object) -> LaunchParams:
    values = {"num_processes": 2, "num_machines": 1}
    values |= {"main_process_port": None, "config_file": None}
    return LaunchParams(**(values | changes))


def test_one_process_runs_the_stage_here_with_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr("stages.run.launch.read_launch", lambda: build_launch(num_processes=1))
    monkeypatch.setattr("runpy.run_module", lambda *args, **kwargs: seen.append((args, kwargs)))
    monkeypatch.setattr("sys.argv", ["-m"])
    assert main("sample", "baseline") == 0
    assert sys.argv == ["sample", "baseline"]
    assert seen == [(("stages.sample",), {"run_name": "__main__", "alter_sys": True})]


def test_a_process_that_was_launched_launches_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("runpy.run_module", lambda *args, **_: seen.append(args))
    monkeypatch.setattr("stages.run.launch.run_processes", None)
    monkeypatch.setattr("stages.run.launch.read_launch", build_launch)
    monkeypatch.setattr("sys.argv", ["-m"])
    monkeypatch.setenv("LOCAL_RANK", "1")
    main("finetune")
    assert seen == [("stages.finetune",)]


def test_two_processes_on_one_machine_meet_at_a_free_port() -> None:
    text = " ".join(build_arguments(build_launch()))
    assert "--num_processes 2 --num_machines 1" in text
    assert text.endswith(f"--main_process_port 0 --config_file {OWN_CONFIG} --multi_gpu")


def test_each_of_several_machines_takes_its_place() -> None:
    place = Place(rank=1, num_machines=2, address="10.0.0.1", port=29500)
    text = " ".join(build_arguments(build_launch(num_machines=2), place, 40000))
    assert "--machine_rank 1 --main_process_ip 10.0.0.1 --main_process_port 40000" in text


def test_two_processes_meet_at_the_port_that_was_chosen(port: int) -> None:
    text = " ".join(build_arguments(build_launch(main_process_port=port)))
    assert f"--main_process_port {port} " in text


def test_a_chosen_port_that_is_taken_is_named(port: int) -> None:
    message = rf"port {port} can't be used here \(Address already in use\): another program"
    with socket.create_server(("", port)), pytest.raises(UserError, match=message):
        build_arguments(build_launch(main_process_port=port))


def test_without_a_stage_one_machine_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("stages.run.launch.read_launch", build_launch)
    assert main() == 1
    assert capsys.readouterr().err == "error: name a stage, such as finetune\n"


def test_a_config_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"launch\.config_file: no file nowhere\.yaml"):
        build_arguments(build_launch(config_file="nowhere.yaml"))


@pytest.mark.parametrize("kind", ["DEEPSPEED", "MEGATRON_LM"])
def test_other_trainers_are_refused_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = write_config(tmp_path, kind)
    launch = build_launch(config_file=str(config))
    monkeypatch.setattr("stages.run.launch.read_launch", lambda: launch)
    assert main("finetune") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {config}: found distributed_type {kind}, ")


@pytest.mark.parametrize(("kind", "is_told"), [("FSDP", True), ("MULTI_GPU", False)])
def test_processes_are_told_to_keep_weights_in_shards(
    kind: str, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, seen = build_launch(config_file=str(write_config(tmp_path, kind))), []
    monkeypatch.setattr("os.environ", os.environ.copy())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(
        "accelerate.commands.launch.launch_command", lambda _: seen.append(SHARDED in os.environ)
    )
    assert run_processes(build_arguments(launch), "finetune") == (0, "")
    assert seen == [is_told]


@pytest.mark.parametrize(
    "text", ["distributed_type: [", "gpu_ids: '0'\ndistributed_type: MULTI_GPU"]
)
def test_a_config_file_in_the_users_home_has_no_effect(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = tmp_path / "default_config.yaml"
    default.write_text(text)
    for module in ("launch", "config.config_args"):
        monkeypatch.setattr(f"accelerate.commands.{module}.default_config_file", str(default))
    monkeypatch.setattr("os.environ", os.environ.copy())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    seen = []
    monkeypatch.setattr(
        "accelerate.commands.launch.multi_gpu_launcher", lambda args: seen.append(args.gpu_ids)
    )
    assert run_processes(build_arguments(build_launch()), "finetune") == (0, "")
    assert seen == ["all"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: [", "not a config of accelerate"),
        ("", "not a config of accelerate"),
        ("distributed_type: WARP", "not a config of accelerate"),
        ("distributed_type: MULTI_GPU\ngpu_ids: '0'", "gpu_ids names one GPU"),
    ],
)
def test_a_broken_config_file_is_named_in_one_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    monkeypatch.setattr("os.environ", os.environ.copy())
    arguments = build_arguments(build_launch(config_file=str(config)))
    with pytest.raises(UserError, match=rf"^{config}: {message}") as caught:
        run_processes(arguments, "finetune")
    assert len(str(caught.value).splitlines()) == 1


def write_config(folder: Path, kind: str) -> Path:
    config = folder / "config.yaml"
    config.write_text(f"compute_environment: LOCAL_MACHINE\ndistributed_type: {kind}\n")
    return config


def test_a_process_that_failed_by_itself_has_spoken(capsys: pytest.CaptureFixture) -> None:
    failure = SimpleNamespace(exitcode=3, message={"message": "process 1: no", "extraInfo": {}})
    assert word_failure(1, failure) == (3, "process 1: no")
    assert capsys.readouterr().err == ""


def test_a_process_that_a_signal_ended_is_named(capsys: pytest.CaptureFixture) -> None:
    reason = "process 1 was ended by SIGSEGV"
    assert word_failure(1, SimpleNamespace(exitcode=-signal.SIGSEGV)) == (1, reason)
    assert capsys.readouterr().err == f"error: {reason}\n"
