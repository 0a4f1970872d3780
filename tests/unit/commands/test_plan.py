import pandas as pd
import pytest

from stages.analysis.results import POOLED_SCHEMA
from stages.commands.plan import main
from stages.config import paths
from stages.files.tables import write_json
from tests.report_project import write_results


@pytest.fixture
def project(tmp_path, monkeypatch):
    write_results(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_json({"sampling_s": 100.0, "training_s": 60.0}, paths.COST)


def test_more_of_anything_finds_less_and_takes_longer(project):
    main()
    plan = pd.read_csv(paths.PLAN)
    assert plan["num_seeds"].eq(1).all()
    in_domain = plan[plan["set"] == "in_domain"].set_index(["num_prompts", "num_pictures"])
    first, more_pictures = in_domain.loc[(50, 1)], in_domain.loc[(50, 4)]
    more_prompts = in_domain.loc[(100, 2)]
    for other in (more_pictures, more_prompts):
        assert other["detectable_difference"] < first["detectable_difference"]
        assert other["minutes"] > first["minutes"]
    # For as many pictures, prompts are worth more.
    assert more_prompts["num_images"] == more_pictures["num_images"]
    assert more_prompts["detectable_difference"] < more_pictures["detectable_difference"]


def test_the_spread_of_pooled_seeds_is_planned_for(project):
    row = dict.fromkeys(POOLED_SCHEMA, 1.0) | {"metric": "clip_cosine", "sd_seeds": 0.05}
    rows = [row | {"set": name, "verdict": ""} for name in ("in_domain", "marketing")]
    whole = {name: 1 for name in POOLED_SCHEMA if name.startswith("num_")}
    pd.DataFrame([row | whole for row in rows]).to_csv(paths.POOLED, index=False)
    main()
    plan = pd.read_csv(paths.PLAN)
    assert set(plan["num_seeds"]) == {3, 5, 10}
    assert plan.groupby("num_seeds")["detectable_difference"].min().is_monotonic_decreasing


def test_it_says_what_would_settle_the_question(project, caplog):
    caplog.set_level("INFO")
    main()
    text = caplog.text
    assert "in-domain: 50 prompts" in text
    assert "60 more prompts of one picture would settle it either way" in text
