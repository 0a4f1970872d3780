"""The shipped experiment at ten times its rate: every picture is visibly destroyed, class by class.

It takes as long as the experiment itself, minutes: `pytest -m slow tests/e2e/test_classes.py`.
"""

from pathlib import Path

import pandas as pd
import pytest

from stages import compare, embed, encode, finetune, preflight, prepare, sample, score
from stages.config import paths
from tests.e2e.test_verdicts import ROOT
from tests.unit.stable_diffusion_project import edit_params

pytestmark = pytest.mark.slow


def test_a_destroyed_model_is_called_worse_on_nearly_every_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("data").mkdir()
    for name in ("params.yaml", "models/tiny", "models/tiny-scorer", "data/extra_prompts.csv"):
        Path(name).symlink_to(ROOT / name)
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").unlink()
    Path("params.yaml").write_text(text, encoding="utf-8")
    edit_params(Path(), "finetune", learning_rate=1e-3)
    for stage in (preflight, prepare, embed, encode, finetune):
        stage.main()
    for variant in paths.VARIANTS:
        sample.main(variant)
        score.main(variant)
    compare.main()
    by_class = pd.read_csv(paths.COMPARISON_TABLES / "by_class.csv")
    assert by_class["given_prompts_verdict"].eq("worse").sum() >= 8
    assert pd.read_csv(paths.COMPARISON_TABLES / "by_set.csv")["verdict"].eq("worse").all()
