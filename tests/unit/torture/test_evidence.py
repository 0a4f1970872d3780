import json
from pathlib import Path

import pytest

from tests.report_project import write_report, write_results
from tests.torture.evidence import compare_results, read_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path)
    write_report(tmp_path)
    return tmp_path


def change_finetune_metrics(folder: Path, **changes: float) -> None:
    path = folder / "metrics/finetune.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_report(folder)


def test_two_runs_may_differ_in_their_speed_and_memory(folder: Path) -> None:
    change_finetune_metrics(folder, steps_per_second=27.13, peak_memory_mib=962.1)
    expected = read_results(folder)
    change_finetune_metrics(folder, steps_per_second=2.031, peak_memory_mib=1960.9)
    assert compare_results(expected, read_results(folder)) == []


def test_any_other_difference_is_named_and_shown(folder: Path) -> None:
    change_finetune_metrics(folder, validation_loss_after=0.25)
    expected = read_results(folder)
    change_finetune_metrics(folder, validation_loss_after=0.26)
    (folder / "plots/loss.csv").unlink()
    metrics, missing, report = compare_results(expected, read_results(folder))
    assert metrics.startswith("metrics/finetune.json differs: at byte ")
    assert "0.25" in metrics
    assert "0.26" in metrics
    assert missing == "plots/loss.csv is missing"
    assert report.startswith("plots/report.html differs: ")
