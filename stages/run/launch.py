"""Run a stage as `launch` in params.yaml says: `python -m stages.run.launch finetune`.

One process is this one: nothing is imported or started for it. Several are started and watched by
`accelerate launch`; when one fails, it has said why itself, the others are ended, and its exit code
is this one's.
"""

import logging
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.config.mistakes import UserError
from stages.config.params import LaunchParams, load_params
from stages.run.processes import LAUNCHER, SHARDED, is_launched

MACHINE = ("MACHINE_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What tells a machine among several its place: its number from 0, and where number 0 listens."""
OWN_CONFIG = str(Path(__file__).with_suffix(".yaml"))
REFUSED = ("DEEPSPEED", "MEGATRON_LM")
"""Types of a config file: each would bring its own optimizer and checkpoints."""
FAILED, INTERRUPTED = 1, 130
GRACE_S = 600
"""How long processes may take to end a step or batch after Ctrl-C before they are killed."""


def main(stage: str, *args: str) -> int:
    """Run it, here or in processes of its own; the exit code."""
    launch = None if is_launched() else read_launch()
    if launch is None or launch.is_alone:
        sys.argv = [stage, *args]
        runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)
        return 0
    try:
        return run_processes(build_arguments(launch, os.environ), stage, *args)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED


def read_launch() -> LaunchParams | None:
    """The section; None after a mistake in params.yaml, which is left to the stage to tell."""
    try:
        return load_params().launch
    except (ValueError, OSError):
        return None


def build_arguments(launch: LaunchParams, environment: Mapping[str, str]) -> list[str]:
    """What `accelerate launch` is called with, before the module.

    Raises:
        UserError: The config file is not there, or a machine among several lacks its place.
    """
    arguments = ["--num_processes", str(launch.num_processes)]
    arguments += ["--num_machines", str(launch.num_machines)]
    arguments += ["--mixed_precision", "no", "--dynamo_backend", "no"]  # the stages' own affair
    if launch.num_machines > 1:
        if missing := [name for name in MACHINE if name not in environment]:
            raise UserError(
                f"launch.num_machines is {launch.num_machines}, but the environment variable "
                f"{missing[0]} is not set; see docs/scaling.md"
            )
        rank, address, port = (environment[name] for name in MACHINE)
        arguments += ["--machine_rank", rank]
        arguments += ["--main_process_ip", address, "--main_process_port", port]
    else:
        arguments += ["--main_process_port", "0"]  # a free one
    if launch.config_file is not None and not Path(launch.config_file).is_file():
        raise UserError(
            f"params.yaml: launch.config_file: no file {launch.config_file}; "
            "`accelerate config --config_file FILE` writes one"
        )
    arguments += ["--config_file", launch.config_file or OWN_CONFIG]
    arguments += ["--multi_gpu"]  # so it is called for CPUs, too: processes under torch's agent
    return arguments


def run_processes(arguments: list[str], stage: str, *args: str) -> int:
    """Run `accelerate launch` in this process, which becomes the agent that watches the others.

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
    parsed = parser.parse_args([*arguments, "-m", "stages.run.launch", stage, *args])
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
        return INTERRUPTED
    return 0


def word_failure(rank: int, failure: object) -> int:
    """Say which signal ended a process, which it could not itself; the exit code to end with."""
    exit_code = int(getattr(failure, "exitcode", FAILED))
    if exit_code >= 0:
        return exit_code
    name = signal.Signals(-exit_code).name
    cause = "; was the memory too small?" if name == "SIGKILL" else ""
    sys.stderr.write(f"error: process {rank} was ended by {name}{cause}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
