import json
import re
from pathlib import Path

from tests.report_project import write_report, write_results


def test_the_settings_show_the_learning_rate_that_finetune_trained_with(tmp_path: Path) -> None:
    write_results(tmp_path)
    metrics = tmp_path / "plots/data/finetune.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"learning_rate": 3.7e-4}))
    settings = re.search(
        r"<summary>finetune</summary>(.*?)</details>", write_report(tmp_path), re.S
    )
    assert settings
    assert "<dt>learning_rate</dt><dd>0.00037</dd>" in settings[1]


def test_the_page_says_how_much_of_the_update_half_precision_keeps(tmp_path: Path) -> None:
    write_results(tmp_path)
    assert "root mean square" not in write_report(tmp_path)  # of a float32 run
    metrics = tmp_path / "plots/data/finetune.json"
    update = {"update_rms": 2.8e-5, "update_kept": 0.9996, "update_kept_if_rounded": 0.5812}
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | update))
    page = write_report(tmp_path)
    assert "moved a weight by 2.8e-05 (root mean square). Of this 100.0 % is in the" in page
    assert "would have left 58.1 %." in page
