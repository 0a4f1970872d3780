"""What a piece of work took: seconds, energy and peak memory, over all runs that it came in.

The figures live in files of their own (plots/data/cost_*.json). No stage that computes depends on
them, as no two runs share them: only the report reads them.
"""

import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from stages.files.tables import read_json, write_json
from stages.run.peaks import read_peaks
from stages.run.processes import count_local_processes, count_processes, is_main_process

PERIOD_S = 15
"""Seconds between two readings of the counters, which overflow after many minutes."""


@dataclass(frozen=True)
class Cost:
    """What work took; costs add up.

    Attributes:
        duration_s: Of several processes, that of the main one.
        energy_wh: Of all processes and machines, as codecarbon has it: processor, GPUs and memory.
            0 where it knows nothing of the hardware.
        is_energy_estimated: No counter of the processor could be read, or not on all machines, so
            that a part is its rated power times its load.
        peak_memory_mib: Of the main process: on the GPU if there is one, else on the CPU.
        peaks_mib: The same on the GPU by part of the work; empty on a CPU, whose peak is one.
    """

    duration_s: float = 0.0
    energy_wh: float = 0.0
    is_energy_estimated: bool = False
    peak_memory_mib: float = 0.0
    peaks_mib: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: "Cost") -> "Cost":
        """What both took, one after the other."""
        return Cost(
            duration_s=self.duration_s + other.duration_s,
            energy_wh=self.energy_wh + other.energy_wh,
            is_energy_estimated=self.is_energy_estimated or other.is_energy_estimated,
            peak_memory_mib=max(self.peak_memory_mib, other.peak_memory_mib),
            peaks_mib={
                part: max(self.peaks_mib.get(part, 0.0), other.peaks_mib.get(part, 0.0))
                for part in {**self.peaks_mib, **other.peaks_mib}
            },
        )


def read_cost(path: Path, stage: str) -> Cost:
    """Read a cost; errors as `read_json`."""
    return Cost(**read_json(path, stage))


def write_cost(cost: Cost, path: Path) -> None:
    """Write a cost as JSON."""
    write_json(asdict(cost), path)


class Meter:
    """Measures the work inside `with`, and keeps the sum over runs in a file beside that work.

    The file lies in scratch/, where unfinished work waits: call `note` whenever a part of the work
    has been saved there, from one thread. A kill then loses the cost of one part, or of the few
    under way; threads that work on parts at once are measured together.

    The main process measures its whole machine if it is one of several, else itself. Of several
    machines each is taken to need as much energy as the first. Codecarbon takes
    a second or two to find out what hardware there is, while the work goes on: their power is taken
    to be the mean of the rest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._earlier = Cost(**json.loads(path.read_text())) if path.is_file() else Cost()

    def __enter__(self) -> Self:
        """Start to measure."""
        self._start_s = time.perf_counter()
        self._energy = _EnergyMeter() if is_main_process() else None
        return self

    def __exit__(self, *_: object) -> None:
        """Measure no more; nothing is written."""
        if self._energy:
            self._energy.stop()

    def note(self) -> Cost:
        """Write down what the work took up to now, in this run and those before; return it."""
        duration_s = time.perf_counter() - self._start_s
        cost = self._earlier + Cost(
            duration_s, peak_memory_mib=measure_peak_memory(), peaks_mib=read_peaks()
        )
        if self._energy:
            energy_wh = self._energy.read_power_w() * duration_s / 3600
            cost += Cost(energy_wh=energy_wh, is_energy_estimated=self._energy.is_estimated)
            write_cost(cost, self._path)
        return cost


class _EnergyMeter:
    """Codecarbon, offline: it asks no network, writes no file and logs nothing."""

    def __init__(self) -> None:
        # A tenth of a second, for the two stages that need it.
        from codecarbon import OfflineEmissionsTracker  # noqa: PLC0415
        from codecarbon.core.cpu import is_rapl_available  # noqa: PLC0415

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        self._num_machines = count_processes() // count_local_processes()
        self.is_estimated = self._num_machines > 1 or not is_rapl_available()
        self._power_w = 0.0
        self._tracker = OfflineEmissionsTracker(
            tracking_mode="machine" if count_processes() > 1 else "process",
            measure_power_secs=PERIOD_S,
            gpu_ids=_list_gpus(),
            output_methods=[],
            output_handlers=[SimpleNamespace(out=self._keep, live_out=_ignore, exit=_ignore)],
            emissions_endpoint=None,
            output_dir=".",
            log_level="critical",
            country_iso_code="USA",  # it insists on one, for the emissions, which are not read
        )
        self._starting = threading.Thread(target=self._tracker.start, daemon=True)
        self._starting.start()

    def read_power_w(self) -> float:
        """The mean since the start."""
        self._starting.join()
        self._tracker.flush()
        return self._power_w * self._num_machines

    def stop(self) -> None:
        """End codecarbon's threads."""
        self._starting.join()
        self._tracker.stop()

    def _keep(self, total: Any, _: Any) -> None:
        self._power_w = total.energy_consumed / total.duration * 3.6e6  # of kWh and seconds


def _ignore(*_: Any) -> None:
    pass


def _list_gpus() -> list[int] | None:
    """The GPUs of this machine that the processes use; None leaves it to CUDA_VISIBLE_DEVICES."""
    import torch  # noqa: PLC0415

    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return None
    return list(range(count_local_processes())) if torch.cuda.is_available() else []


def measure_peak_memory() -> float:
    """Peak memory of this process in MiB: of the GPU if there is one, else of the CPU."""
    import torch  # noqa: PLC0415  # the report does without

    if torch.cuda.is_available():
        return max(read_peaks().values(), default=0.0)
    if sys.platform == "win32":  # which has no `resource`
        return 0.0
    import resource  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
