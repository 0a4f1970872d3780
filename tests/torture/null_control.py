"""Sample an untrained model in many fresh processes, and compare each with the baseline's bytes.

`python -m tests.torture.null_control --runs 300`, on a micro base trained for 0 steps. A process
is forked from one that has imported all and computed nothing, so its threads and kernels are new.
Says how many differed, and how busy the machine was; the exit code is 1 if any did.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from stages.config import paths
from tests.micro_project import Project
from tests.pictures import name_images

VARIANT = "finetuned"


def main() -> None:
    """Count the runs whose pictures differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    num_runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        project.set_micro_params()
        project.repro("sample@baseline", "sample@finetuned")
        os.chdir(folder)
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload([__name__, "stages.sample"])
        expected, loads, differing = name_images(paths.SAMPLES["baseline"]), [], []
        for run in (bar := tqdm(range(num_runs), desc="null control", unit="run")):
            shutil.rmtree(paths.SCRATCH, ignore_errors=True)
            paths.SAMPLES[VARIANT].unlink()
            loads.append(os.getloadavg()[0])
            process = processes.Process(target=sample)
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"run {run} ended with {process.exitcode}")
            found = name_images(paths.SAMPLES[VARIANT])
            wrong = [name for name, image in expected.items() if image != found[name]]
            if wrong:
                differing.append(run)
                bar.write(f"run {run}: {len(wrong)} of {len(expected)} pictures differ: {wrong}")
    busy = sum(load > os.cpu_count() for load in loads)
    sys.stdout.write(
        f"{len(differing)} of {num_runs} runs differ; {busy} began on a busy machine\n"
    )
    sys.exit(bool(differing))


def sample() -> None:
    """One run of the stage."""
    from stages.sample import main as run  # noqa: PLC0415 - imported by the server already

    run(VARIANT)


if __name__ == "__main__":
    main()
