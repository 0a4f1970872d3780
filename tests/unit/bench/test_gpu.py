import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 120


def measure(folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.bench.gpu", "--folder", str(folder), *options]
    subprocess.run(command, check=True)
    assert (folder / "gpu.md").read_text().count("\n| ") > 10
    return json.loads((folder / "gpu.json").read_text())


@pytest.mark.thorough
def test_every_part_of_make_gpu_is_measured_on_a_cpu_in_less_than_two_minutes(
    tmp_path: Path,
) -> None:
    started = time.monotonic()
    found = measure(tmp_path)
    assert time.monotonic() - started < LIMIT_S
    machine = found.pop("machine")
    assert machine["device"].startswith("the CPU")
    assert {"driver", "torch"} < set(machine)
    for name, numbers in found.items():
        assert not {"failed", "left out"} & set(numbers), (name, numbers)
        assert len(numbers) > 1, name
    assert found["same bytes"]["10 steps twice"] == "the same bytes"
    assert found["resume"]["weights after all"] == "the same bytes"
    graphs = found["attn2 step in CUDA graphs"]
    assert graphs["weights"] == "the same bytes"
    assert graphs["pieces"] == graphs["pieces left out"] == 1  # whole; a CPU has no graphs


@pytest.mark.thorough
def test_a_part_whose_time_is_over_is_ended_and_the_others_are_named(tmp_path: Path) -> None:
    found = measure(tmp_path, "--seconds", "0.5")
    del found["machine"]
    reasons = [numbers["left out"] for numbers in found.values()]
    assert reasons == ["its time was over", *["no time was left"] * (len(found) - 1)]
