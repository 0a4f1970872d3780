from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from stages.run import peaks
from stages.run.cost import Cost, measure_peak_memory
from stages.run.peaks import REST, read_peaks, watch_part

MIB = 2**20


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """CUDA's one peak, of an allocator that allocates nothing."""
    state = SimpleNamespace(peak=0)
    monkeypatch.setattr(peaks, "_peaks_mib", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: state.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(state, "peak", 0))
    return state


def take(gpu: SimpleNamespace, mib: int) -> None:
    gpu.peak = max(gpu.peak, mib * MIB)


def test_each_part_has_its_own_peak(gpu: SimpleNamespace) -> None:
    take(gpu, 900)
    with watch_part("training"):
        take(gpu, 300)
        with watch_part("validation"):
            take(gpu, 700)
        take(gpu, 200)
        assert read_peaks() == {REST: 900, "training": 300, "validation": 700}
        take(gpu, 400)
    with watch_part("validation"):
        take(gpu, 100)
    assert read_peaks() == {REST: 900, "training": 400, "validation": 700}
    assert measure_peak_memory() == 900


def test_peaks_of_several_runs_are_the_larger_ones() -> None:
    first = Cost(peaks_mib={"training": 300.0, "prior": 500.0})
    total = first + Cost(peaks_mib={"training": 400.0, "validation": 50.0})
    assert total.peaks_mib == {"training": 400.0, "prior": 500.0, "validation": 50.0}


def test_a_cpu_has_one_peak() -> None:
    with watch_part("training"):
        assert read_peaks() == {}
    assert measure_peak_memory() > 0
