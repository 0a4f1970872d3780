"""Run a stage as `launch` in params.yaml says: `python -m stages.run.launch finetune`.

One process is this one: nothing is imported or started for it. Several are started and watched by
`accelerate launch`; when one fails, it has said why itself, the others are ended, and its exit code
is this one's. Without a stage, a machine among several runs what machine 0 runs next; from machine
0 that means that there are no more.
"""

import logging
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from stages.config.mistakes import UserError
from stages.config.params import LaunchParams, load_params
from stages.run.machines import (
    DONE,
    FAILED,
    INTERRUPTED,
    Meeting,
    Place,
    meet,
    open_port,
    read_place,
)
from stages.run.processes import LAUNCHER, SHARDED, is_launched

OWN_CONFIG = str(Path(__file__).with_suffix(".yaml"))
REFUSED = ("DEEPSPEED", "MEGATRON_LM")
"""Types of a config file: each would bring its own optimizer and checkpoints."""
GRACE_S = 600
"""How long processes may take to end a step or batch after Ctrl-C before they are killed."""


def main(*command: str) -> int:
    """Run a stage with its arguments, here or in processes of its own; the exit code."""
    launch = None if is_launched() else read_launch()
    if command and (launch is None or launch.is_alone):
        sys.argv = list(command)
        runpy.run_module(f"stages.{command[0]}", run_name="__main__", alter_sys=True)
        return DONE
    try:
        if launch is None or (launch.num_machines == 1 and not command):
            raise UserError("name a stage, such as finetune")
        if launch.num_machines == 1:
            return run_processes(build_arguments(launch), *command)[0]
        place = read_place(launch, os.environ)
        return run_with_others(launch, place, meet(place, list(command)))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED


def run_with_others(launch: LaunchParams, place: Place, meeting: Meeting) -> int:
    """Run this machine's processes of the stage that was agreed on; the exit code."""
    if not meeting.command:
        if place.rank == 0:
            return DONE
        sys.stderr.write("launch: machine 0 has no more stages\n")
        return FAILED  # which ends a loop
    try:
        arguments = build_arguments(launch, place, meeting.port)
        code, reason = run_processes(arguments, *meeting.command)
    except ValueError as error:
        meeting.end(FAILED, str(error))
        raise
    meeting.end(code, reason)
    return code


def read_launch() -> LaunchParams | None:
    """The section; None after a mistake in params.yaml, which is left to the stage to tell."""
    try:
        return load_params().launch
    except (ValueError, OSError):
        return None


def build_arguments(launch: LaunchParams, place: Place | None = None, port: int = 0) -> list[str]:
    """What `accelerate launch` is called with, before the module.

    Args:
        launch: The section of params.yaml.
        place: This machine's among several.
        port: Where the agents of several machines meet, on machine 0.

    Raises:
        UserError: The config file is not there, or the port is taken.
    """
    arguments = ["--num_processes", str(launch.num_processes)]
    arguments += ["--num_machines", str(launch.num_machines)]
    arguments += ["--mixed_precision", "no", "--dynamo_backend", "no"]  # the stages' own affair
    if place:
        arguments += ["--machine_rank", str(place.rank), "--main_process_ip", place.address]
    else:
        port = launch.main_process_port or 0  # a free one
        open_port(port).close()  # accelerate would take another, with a warning
    arguments += ["--main_process_port", str(port)]
    require_config_file(launch)
    arguments += ["--config_file", launch.config_file or OWN_CONFIG]
    arguments += ["--multi_gpu"]  # so it is called for CPUs, too: processes under torch's agent
    return arguments


def require_config_file(launch: LaunchParams) -> None:
    """Refuse a config file that is not there."""
    if launch.config_file is not None and not Path(launch.config_file).is_file():
        raise UserError(
            f"params.yaml: launch.config_file: no file {launch.config_file}; "
            "`accelerate config --config_file FILE` writes one"
        )


def run_processes(arguments: list[str], *command: str) -> tuple[int, str]:
    """Run `accelerate launch` in this process, which becomes the agent that watches the others.

    Returns:
        The exit code, and what a process that failed has said.

    Raises:
        UserError: The config file is broken, or asks for what can't train here.
    """
    # Seconds of imports, which only several processes need.
    import torch  # noqa: PLC0415
    from accelerate.commands.config.config_args import load_config_from_file  # noqa: PLC0415
    from accelerate.commands.launch import (  # noqa: PLC0415
        launch_command,
        launch_command_parser,
    )
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # a page for each failure
    parser = launch_command_parser()
    parsed = parser.parse_args([*arguments, "-m", "stages.run.launch", *command])
    try:
        config = load_config_from_file(parsed.config_file)
        kind = config.distributed_type.value
    except Exception as error:  # YAML's, JSON's, accelerate's own of any type
        reason = " ".join(str(error).split())
        raise UserError(
            f"{parsed.config_file}: not a config of accelerate ({reason}); "
            f"`accelerate config --config_file {parsed.config_file}` writes it anew"
        ) from None
    if kind in REFUSED:
        raise UserError(
            f"{parsed.config_file}: found distributed_type {kind}, which trains by an "
            "optimizer and checkpoints of its own; it should be MULTI_GPU, or FSDP for weights "
            "in shards"
        )
    if str(getattr(config, "gpu_ids", None) or "all").isdigit():
        raise UserError(
            f"{parsed.config_file}: gpu_ids names one GPU, and launch.num_processes is "
            f"{parsed.num_processes}; name a GPU for each process, or set gpu_ids to all"
        )
    if kind == "FSDP":
        os.environ[SHARDED] = "1"
    num_local = max(1, parsed.num_processes // parsed.num_machines)
    parsed.num_cpu_threads_per_process = max(1, torch.get_num_threads() // num_local)
    os.environ[LAUNCHER] = str(os.getpid())
    # To the processes SIGTERM means that another one failed. What a batch system means by it is
    # Ctrl-C: end the step, and leave a checkpoint.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGHUP,SIGQUIT"
    os.environ["PET_SHUTDOWN_TIMEOUT"] = str(GRACE_S)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        launch_command(parsed)
    except ChildFailedError as error:
        return word_failure(*error.get_first_failure())
    except (SignalException, KeyboardInterrupt):
        return INTERRUPTED, ""
    return DONE, ""


def word_failure(rank: int, failure: Any) -> tuple[int, str]:
    """The exit code to end with, and why; says which signal ended a process, as it could not."""
    if failure.exitcode >= 0:
        said = failure.message
        return failure.exitcode, said["message"] if isinstance(said, dict) else said
    name = signal.Signals(-failure.exitcode).name
    cause = "; was the memory too small?" if name == "SIGKILL" else ""
    reason = f"process {rank} was ended by {name}{cause}"
    sys.stderr.write(f"error: {reason}\n")
    return FAILED, reason


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
