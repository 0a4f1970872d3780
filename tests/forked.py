"""`dvc repro` whose stages start without importing anything: it saves a stage 6 to 8 s.

Each is a process of its own, and runs as a program, as ever; but it is forked from a process that
has imported the libraries, and only them. `Project.run("dvc", "repro")` is the real thing.
"""

import logging
import multiprocessing
import os
import runpy
import shlex
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from dvc import cli
from dvc.stage import run
from dvc.stage.exceptions import StageCmdFailedError

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "diffusers.models.autoencoders.autoencoder_kl",
        "diffusers.models.unets.unet_2d_condition",
        "dvc.cli",
        "dvc.commands.repro",
        "open_clip",
        "pandas",
        "peft",
        "plotly.graph_objects",
        "pyarrow.parquet",
        "pydantic",
        "torch",
        "transformers.models.clip.modeling_clip",
    ]
)


def reproduce(
    folder: Path, targets: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess:
    """Run `dvc repro` to its end, whatever that is."""
    with tempfile.TemporaryDirectory() as logs:
        outputs = [Path(logs) / name for name in ("stdout", "stderr")]
        process = _FORKS.Process(target=_run_dvc, args=(folder, targets, environment, outputs))
        process.start()
        process.join()
        texts = (output.read_text() for output in outputs)
        return subprocess.CompletedProcess(targets, process.exitcode or 0, *texts)


def _run_dvc(
    folder: Path, targets: Sequence[str], environment: Mapping[str, str], outputs: Sequence[Path]
) -> None:
    for descriptor, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    _move(folder, environment)
    run._run = _run_stage
    sys.exit(cli.main(["repro", *targets]))


def _run_stage(_: str, cmd: str, *, cwd: str, env: Mapping[str, str], **__: object) -> None:
    """What DVC does with a stage's command, but for the new interpreter."""
    sys.stdout.flush()
    if process := os.fork():
        _, status = os.waitpid(process, 0)
        if status:
            raise StageCmdFailedError(cmd, os.waitstatus_to_exitcode(status))
        return
    code: object = 1
    try:
        _be_stage(cmd, Path(cwd), env)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _be_stage(cmd: str, folder: Path, environment: Mapping[str, str]) -> None:
    python, option, module, *arguments = shlex.split(cmd)
    assert (python, option) == ("python", "-m"), cmd
    _move(folder, environment)
    logging.root.handlers.clear()  # DVC's
    sys.path = [str(folder), *(path for path in sys.path if not (Path(path) / "stages").exists())]
    sys.argv = ["-m", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _move(folder: Path, environment: Mapping[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
