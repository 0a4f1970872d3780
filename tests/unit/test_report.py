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
