import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from stages.run.cost import Cost, write_cost
from tests.report_project import write_report, write_results
from tests.torture.evidence import compare_results, count_done, read_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path)
    write_report(tmp_path)
    return tmp_path


def change_finetune_metrics(folder: Path, **changes: float) -> None:
    path = folder / "plots/data/finetune.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_report(folder)


def test_two_runs_may_differ_in_what_they_cost(folder: Path) -> None:
    expected = read_results(folder)
    write_cost(Cost(27.13, 1.5, False, 1960.9), folder / "plots/data/cost_finetune.json")
    for name in ("sample_baseline", "sample_finetuned"):
        write_cost(Cost(127.1, 1.5, False, 960.9), folder / f"plots/data/cost_{name}.json")
    write_report(folder)
    assert compare_results(expected, read_results(folder)) == []


def test_any_other_difference_is_named_and_shown(folder: Path) -> None:
    change_finetune_metrics(folder, validation_loss_after=0.25)
    expected = read_results(folder)
    change_finetune_metrics(folder, validation_loss_after=0.26)
    (folder / "plots/data/loss.csv").unlink()
    metrics, missing, report = compare_results(expected, read_results(folder))
    assert metrics.startswith("plots/data/finetune.json differs: at byte ")
    assert "0.25" in metrics
    assert "0.26" in metrics
    assert missing == "plots/data/loss.csv is missing"
    assert report.startswith("plots/report.html differs: ")


def test_pictures_of_finished_batches_are_counted_until_all_are_in_one_table(
    tmp_path: Path,
) -> None:
    project, scratch = SimpleNamespace(folder=tmp_path), tmp_path / "scratch/sample@baseline/abc"
    scratch.mkdir(parents=True)
    for number, count in ((0, 4), (4, 3)):
        rows = pd.DataFrame({"file_name": ["a"] * count})
        rows.to_parquet(scratch / f"batch_{number:07d}.parquet")
    (scratch / "batch_0000008.parquet.partial").touch()
    assert count_done(project, "sample@baseline") == 7
    assert count_done(project, "sample@finetuned") == 0
    rows.to_parquet(scratch / "pictures.parquet")
    assert count_done(project, "sample@baseline") == 0
