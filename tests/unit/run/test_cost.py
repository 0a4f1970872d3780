import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import codecarbon
import pytest
from codecarbon.core import cpu

from stages.run.cost import Cost, Meter, read_cost, write_cost

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cost.json"


@pytest.fixture
def tracker(monkeypatch):
    """Codecarbon's, but of a machine that draws 200 W."""

    class Tracker:
        def __init__(self, **settings):
            self.settings = settings
            Tracker.last = self

        def start(self):
            pass

        def flush(self):
            read = SimpleNamespace(energy_consumed=0.2 / 60, duration=60)
            for handler in self.settings["output_handlers"]:
                handler.out(read, None)

        def stop(self):
            pass

    monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", Tracker)
    monkeypatch.setattr(cpu, "is_rapl_available", lambda: True)
    return Tracker


def launch(monkeypatch, rank, num_processes, num_local):
    values = {"RANK": rank, "LOCAL_RANK": rank % num_local, "WORLD_SIZE": num_processes}
    for name, value in (values | {"LOCAL_WORLD_SIZE": num_local}).items():
        monkeypatch.setenv(name, str(value))


def test_costs_add_up_but_for_the_peak_and_a_part_that_is_estimated_makes_the_whole_so():
    total = Cost(10.0, 1.0, False, 300.0) + Cost(5.0, 0.5, True, 200.0)
    assert total == Cost(15.0, 1.5, True, 300.0)


def test_a_cost_is_read_as_it_was_written(path):
    write_cost(Cost(10.0, 1.25, True, 300.0), path)
    assert read_cost(path, "finetune") == Cost(10.0, 1.25, True, 300.0)


def test_a_note_holds_what_this_run_and_those_before_took(path, tracker):
    write_cost(Cost(100.0, 7.0, False, 1e9), path)
    with Meter(path) as meter:
        meter.note()
        cost = meter.note()
    assert 100 < cost.duration_s < 110
    assert cost.energy_wh == pytest.approx(7 + 200 * (cost.duration_s - 100) / 3600)
    assert cost.peak_memory_mib == 1e9
    assert not cost.is_energy_estimated
    assert read_cost(path, "finetune") == cost


def test_work_that_fails_leaves_the_last_note(path, tracker):
    noted = []

    def work():
        with Meter(path) as meter:
            noted.append(meter.note())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert noted == [read_cost(path, "finetune")]


def test_without_a_counter_energy_is_said_to_be_estimated(path, tracker, monkeypatch):
    monkeypatch.setattr(cpu, "is_rapl_available", lambda: False)
    with Meter(path) as meter:
        assert meter.note().is_energy_estimated


def test_of_several_processes_the_main_one_measures_the_machine(path, tracker, monkeypatch):
    launch(monkeypatch, rank=0, num_processes=2, num_local=2)
    with Meter(path) as meter:
        cost = meter.note()
    assert cost.energy_wh == pytest.approx(200 * cost.duration_s / 3600)
    assert tracker.last.settings["tracking_mode"] == "machine"
    path.unlink()
    launch(monkeypatch, rank=1, num_processes=2, num_local=2)
    with Meter(path) as meter:
        assert meter.note().energy_wh == 0
    assert not path.exists()


def test_other_machines_are_estimated_to_need_as_much(path, tracker, monkeypatch):
    launch(monkeypatch, rank=0, num_processes=6, num_local=2)
    with Meter(path) as meter:
        cost = meter.note()
    assert cost.energy_wh == pytest.approx(3 * 200 * cost.duration_s / 3600)
    assert cost.is_energy_estimated


@pytest.mark.thorough
def test_codecarbon_estimates_some_energy_without_network_files_or_a_word(tmp_path):
    code = """
import socket, time
def refuse(*_): raise AssertionError("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from stages.run.cost import Meter
with Meter(Path("cost.json")) as meter:
    meter.note()  # waits until codecarbon knows the hardware, which takes long on a busy machine
    end = time.perf_counter() + 3
    while time.perf_counter() < end:
        pass
    print(meter.note().energy_wh)
"""
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    # 10 W of memory, and a core at some watts
    assert 10 * 3 / 3600 < float(run.stdout) < 1
    assert [file.name for file in tmp_path.iterdir()] == ["cost.json"]
