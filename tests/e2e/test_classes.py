"""The shipped experiment, varied: what is called of ten classes, and of a method with itself.

It takes as long as three of its experiments: `pytest -m slow tests/e2e/test_classes.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from stages import compare, finetune, sample, score
from stages.analysis.duel import compare_arms, compare_arms_by_class
from stages.config import paths
from stages.config.params import load_params
from stages.files.facts import read_facts
from stages.files.tables import read_scores
from tests.e2e.test_verdicts import ROOT, run_in
from tests.unit.stable_diffusion_project import edit_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shipped params and models, up to the baseline's pictures."""
    folder = tmp_path_factory.mktemp("classes")
    for name in ("models", "data"):
        (folder / name).mkdir()
    for name in ("models/tiny", "models/tiny-scorer", "data/extra_prompts.csv"):
        (folder / name).symlink_to(ROOT / name)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    yield from run_in(folder)


def test_a_destroyed_model_is_called_worse_on_nearly_every_class(project: Path) -> None:
    edit_params(project, "finetune", method="attn2", learning_rate=1e-3)
    train_and_score()
    compare.main()
    by_class = pd.read_csv(paths.COMPARISON_TABLES / "by_class.csv")
    assert by_class["given_prompts_verdict"].eq("worse").sum() >= 8
    assert pd.read_csv(paths.COMPARISON_TABLES / "by_set.csv")["verdict"].eq("worse").all()


def test_lora_at_two_seeds_is_not_called_different_from_itself(project: Path) -> None:
    arms = {}
    for seed in (0, 1):
        edit_params(project, "finetune", method="lora", learning_rate="auto", seed=seed)
        train_and_score()
        arms[f"seed {seed}"] = [read_scores(paths.SCORES["finetuned"])]
    params = load_params().compare
    called = ["better", "worse"]
    duels = compare_arms(arms, read_facts(paths.FACTS["finetuned"]), params)
    assert not duels["verdict"].isin(called).any()
    assert not compare_arms_by_class(arms, params)["verdict"].isin(called).any()
    first, second = (table[0]["clip_cosine"] for table in arms.values())
    assert (first != second).any()


def train_and_score() -> None:
    """From training to the scores of both variants."""
    finetune.main()
    sample.main("finetuned")
    for variant in paths.VARIANTS:
        score.main(variant)
