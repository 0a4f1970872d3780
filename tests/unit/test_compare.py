import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import compare
from stages.analysis.results import Results, read_results
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.embeds import PairEmbeds, write_image_embeds, write_pair_embeds
from stages.files.facts import write_facts
from stages.files.tables import PROMPTS_SCHEMA, SCORES_SCHEMA, read_json, write_table
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.metrics.registry import METRICS, describe_metrics
from tests.unit.analysis.builders import make_scores

ROOT = Path(__file__).parents[2]
Prompts = dict[str, list[float]]
PROMPTS = {f"p{number}": [0.1, 0.2] for number in range(6)}


def draw_embeds(num_rows: int, seed: int) -> np.ndarray:
    embeds = np.random.default_rng(seed).normal(size=(num_rows, 8)).astype(np.float32)
    return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)


def write_scores(variant: str, seed: int, prompts: Prompts, **changes: object) -> None:
    scores = make_scores(prompts).assign(predicted_class="cat", nearest_training_id="a")
    scores.loc[len(scores) // 2 :, "set"] = "marketing"
    rng = np.random.default_rng(seed)
    for name, kind in SCORES_SCHEMA.items():
        if name not in scores or name == "clip_cosine":
            values = rng.random(len(scores)) if kind == "float64" else kind == "int64"
            scores[name] = values if kind != "bool" else name == "is_finite"
    write_table(scores.assign(**changes)[list(SCORES_SCHEMA)], paths.SCORES[variant])
    write_image_embeds(paths.SAMPLE_EMBEDS[variant], draw_embeds(len(scores), seed))
    write_facts(describe_metrics(METRICS, PIXELS), paths.FACTS[variant])


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Of twelve pictures a variant, of which the first two fine-tuned ones are black."""
    monkeypatch.chdir(tmp_path)
    return compare_scores(PROMPTS, num_train=14, is_black=[True] * 2 + [False] * 10)


def compare_scores(made: Prompts, num_train: int, **changes: object) -> Results:
    """Compare made-up scores in the current folder."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    few = re.sub("num_resamples: [0-9]+", "num_resamples: 100", text)
    Path("params.yaml").write_text(few, encoding="utf-8")
    write_scores("baseline", 1, made)
    write_scores("finetuned", 2, made, **changes)
    prompts = make_scores(made).drop_duplicates("prompt_id").assign(finetuned_prompt="")
    prompts["protocol"] = ["paper", "broad"] * (len(made) // 2)
    write_table(prompts[list(PROMPTS_SCHEMA)], paths.PROMPTS)
    splits = ["train"] * num_train + ["subject"] * 3 + ["subject_held_out"] * 3
    rows = pd.DataFrame({"split": splits, "class": None})
    rows.insert(0, "source_id", [f"p{number}" for number in range(len(rows))])
    write_pair_embeds(paths.IMAGE_EMBEDS, PairEmbeds(rows, draw_embeds(len(rows), 0)))
    compare.main()
    return read_results(paths.COMPARISON_TABLES)


def test_the_verdict_is_written_in_words_with_what_was_counted(results: Results) -> None:
    verdict = results.verdict
    assert verdict["headline"].endswith("on in-domain or marketing prompts")
    assert verdict["sentence"].startswith("On 3 in-domain prompts")
    assert verdict["warning"].startswith("Collapse: of 12 fine-tuned pictures")
    assert verdict["counts"]["finetuned"]["num_black"] == len(results.collapsed) == 2
    assert verdict["counts"]["baseline"]["num_black"] == 0


def test_what_the_subjects_own_pictures_reach_is_their_mean_cosine(results: Results) -> None:
    embeds = draw_embeds(20, 0)
    expected = (embeds[14:17] @ embeds[17:].T).mean()
    assert results.verdict["subject_similarity_of_pictures"] == pytest.approx(expected, abs=1e-6)


def test_metrics_are_ten_numbers_and_words_of_the_tables(results: Results) -> None:
    values = read_json(paths.COMPARISON, "compare")
    assert len(values) == 10
    assert values["bad_pictures"] == 2
    by_set = results.by_set.set_index("set")
    for name in ("in_domain", "marketing"):
        found = [values[f"{name}_{key}"] for key in ("difference", "low", "high")]
        assert found == by_set.loc[name, ["difference", "ci_low", "ci_high"]].tolist()


def test_the_papers_prompts_are_a_table_of_their_own(results: Results) -> None:
    papers = results.papers_prompts.set_index("set")
    assert papers["num_prompts"].to_dict() == {"in_domain": 2, "marketing": 1}
    prompts = results.by_prompt.set_index("prompt_id")
    expected = prompts.loc[["p0", "p2"], "difference"].mean()
    assert papers.loc["in_domain", "difference"] == pytest.approx(expected)


def test_every_metric_of_the_facts_is_compared(results: Results) -> None:
    compared = results.by_metric.groupby("set")["metric"].agg(set)
    facts = set(describe_metrics(METRICS, PIXELS))
    assert compared["in_domain"] == facts
    assert compared["marketing"] == facts - {"kid", "cmmd"}
    directions = results.by_metric.set_index(["set", "metric"])["direction"]
    assert directions["marketing", "training_similarity"] == "neither"
    assert directions["in_domain", "training_similarity"] == "higher"


@pytest.mark.usefixtures("results")
def test_variants_that_were_not_scored_alike_are_refused() -> None:
    path = paths.FACTS["baseline"]
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(facts | {"musiq": facts["sharpness"]}), encoding="utf-8")
    with pytest.raises(UserError, match="not scored alike; run `dvc repro score`"):
        compare.main()


def test_one_prompt_one_picture_and_one_pair_end_in_null_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = compare_scores({"p0": [0.1], "p1": [0.2]}, num_train=1)
    values = read_json(paths.COMPARISON, "compare")
    assert values["in_domain_low"] is values["in_domain_high"] is None
    assert values["in_domain_verdict"] == "too_little_data"
    assert results.verdict["sentence"].startswith("On 1 in-domain prompt ")
    metrics = results.by_metric.set_index(["set", "metric"])
    assert metrics["ci_low"].isna().all()
    kid = metrics.loc[("in_domain", "kid")] if ("in_domain", "kid") in metrics.index else None
    assert kid is None or np.isnan(kid["difference"])
