import json
import re
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.commands.duel import check_alike, main
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Params, load_params
from stages.files.facts import write_facts
from stages.files.tables import SCORES_SCHEMA, read_json, write_json, write_table
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.metrics.registry import METRICS, describe_metrics
from stages.scoring.metrics.training import SUBJECT_SIMILARITY
from tests.experiments import replace_in_params, write_experiments

GAINS = {"attn2": 0.0, "full": -0.2, "full-again": -0.22}
SIZES = {"attn2": 391_968, "full": 5_599_652}


def make_scores(gain: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "file_name": f"{s}{p}_{i}.png",
            "prompt_id": f"{s}{p}",
            "set": s,
            "class": f"c{p % 2}",
            "index": i,
            "prompt": f"{s}{p}",
        }
        for s in ("in_domain", "marketing")
        for p in range(12)
        for i in range(2)
    ]
    table = pd.DataFrame(rows).assign(predicted_class="c0", nearest_training_id="a")
    for name, kind in SCORES_SCHEMA.items():
        if name not in table:
            table[name] = rng.random(len(table)) if kind == "float64" else kind == "int64"
            table[name] = table[name].astype(kind)
    return table.assign(clip_cosine=table["clip_cosine"] + gain)[list(SCORES_SCHEMA)]


def add_subject(scores: pd.DataFrame, similarity: float) -> pd.DataFrame:
    """Scores of a subject's prompts as well, which resemble it as said."""
    rows = scores[scores["set"] == "marketing"].assign(set="subject", subject_similarity=similarity)
    for column in ("file_name", "prompt_id", "prompt"):
        rows[column] = rows[column].str.replace("marketing", "subject")
    return pd.concat([scores, rows], ignore_index=True)


def write_subject(similarity: float) -> None:
    replace_in_params("data: pairs ", "data: subject ")
    write_results(-0.1, "attn2")
    for variant, value in (("baseline", 0.25), ("finetuned", similarity)):
        scores = pd.read_csv(paths.SCORES[variant], keep_default_na=False)
        write_table(add_subject(scores, value), paths.SCORES[variant])
    write_facts(describe_metrics((*METRICS, SUBJECT_SIMILARITY), PIXELS), paths.FACTS["finetuned"])


def write_results(gain: float, method: str) -> None:
    write_table(make_scores(0.0), paths.SCORES["baseline"])
    write_table(make_scores(gain), paths.SCORES["finetuned"])
    write_facts(describe_metrics(METRICS, PIXELS), paths.FACTS["finetuned"])
    trained = {"num_trainable_parameters": SIZES[method], "validation_loss_change": -0.03}
    write_json(trained | {"learning_rate": 1e-4}, paths.TRAINING)
    write_json({"training_s": 12.0, "checkpoint_bytes": 10**6}, paths.COST)


def write_experiment(name: str) -> None:
    method = name.removesuffix("-again")
    replace_in_params("method: attn2\n", f"method: {method}\n")
    if name != method:
        replace_in_params("seed: 0                 # order", "seed: 1                 # order")
    write_results(GAINS[name], method)


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with the experiments, where `dvc exp` puts them."""
    monkeypatch.chdir(tmp_path)
    write_experiments({name: partial(write_experiment, name) for name in GAINS})


@pytest.mark.usefixtures("experiments")
def test_experiments_and_their_baseline_duel_pair_by_pair() -> None:
    main("attn2", "full")
    table = pd.read_csv(paths.DUELS)
    clip = table[(table["metric"] == "clip_cosine") & (table["set"] == "in_domain")]
    verdicts = {(row.a, row.b): row.verdict for row in clip.itertuples()}
    assert verdicts == {
        ("baseline", "attn2"): "no difference shown",
        ("baseline", "full"): "better",
        ("attn2", "full"): "better",
    }
    assert clip["difference"].tolist() == pytest.approx([0, 0.2, 0.2])
    page = paths.DUEL_PAGE.read_text(encoding="utf-8")
    assert "none is shown to beat baseline, attn2</h1>" in page
    assert "5\u202f599\u202f652" in page
    assert "<script src=" not in page


def test_strengths_of_what_was_imported_are_arms_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiments({f"s{strength}": partial(write_import, strength) for strength in (0, 1)})
    main("s0", "s1")
    table = pd.read_csv(paths.DUELS)
    assert set(zip(table["a"], table["b"], strict=True)) == {
        ("baseline", "s0"),
        ("baseline", "s1"),
        ("s0", "s1"),
    }
    page = paths.DUEL_PAGE.read_text(encoding="utf-8")
    assert "<td>import</td><td>0</td><td>\N{EN DASH}</td>" in page
    assert "<td>import</td><td>1</td><td>\N{EN DASH}</td>" in page


def test_what_was_learned_of_a_subject_stands_beside_what_was_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiments({"learned": partial(write_subject, 0.75)})
    main("learned")
    page = paths.DUEL_PAGE.read_text(encoding="utf-8")
    row = page[page.index('aria-label="The subject"') :].split("<tr>")[2].split("</tr>")[0]
    cells = re.findall(r"<td>([^<]*)", row)
    assert cells == ["0.75", "+0.5000", *["\N{MINUS SIGN}0.1000"] * 3]
    assert page.count('<div class="chart"') == 3


@pytest.mark.usefixtures("experiments")
def test_without_a_subject_the_page_has_no_section_on_one() -> None:
    main("attn2")
    assert "The subject" not in paths.DUEL_PAGE.read_text(encoding="utf-8")


def write_import(strength: int) -> None:
    replace_in_params("method: attn2\n", "method: import\n")
    replace_in_params("  path: none ", "  path: theirs.safetensors ")
    replace_in_params("strength: 1.0 ", f"strength: {strength} ")
    write_results(0.1 * strength, "attn2")
    write_json(read_json(paths.TRAINING, "finetune") | {"learning_rate": None}, paths.TRAINING)


@pytest.mark.usefixtures("experiments")
def test_experiments_of_several_training_seeds_are_one() -> None:
    main("full", "full-again", "attn2")
    table = pd.read_csv(paths.DUELS)
    assert set(table["b"]) == {"full + full-again", "attn2"}
    rows = table[(table["metric"] == "clip_cosine") & (table["b"] == "full + full-again")]
    assert rows["difference"].tolist() == pytest.approx([0.21, 0.21])


@pytest.mark.usefixtures("experiments")
def test_the_picked_one_is_judged_by_the_other_half_of_the_prompts() -> None:
    main("--pick", "full", "attn2")
    table = pd.read_csv(paths.DUELS)
    assert set(table["num_prompts"]) == {6}
    page = paths.DUEL_PAGE.read_text(encoding="utf-8")
    assert "One half of the prompts picked <b>baseline</b>" in page


@pytest.mark.usefixtures("experiments")
def test_a_name_that_is_an_experiment_and_a_branch_is_refused() -> None:
    subprocess.run(["git", "branch", "attn2"], check=True)
    with pytest.raises(UserError, match=r"attn2: is the name of refs/.* and refs/.*; name a comm"):
        main("attn2", "full")


def test_a_project_may_be_a_folder_of_a_larger_repository(tmp_path, monkeypatch) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    folder = tmp_path / "models/ours"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    write_experiments({"attn2": partial(write_experiment, "attn2")})
    main("attn2")
    assert paths.DUELS.exists()


def change(params: Params, section: str, **values: object) -> Params:
    part = getattr(params, section).model_copy(update=values)
    return params.model_copy(update={section: part})


def test_what_cannot_be_compared_is_refused_by_its_key_and_both_values() -> None:
    params = load_params()
    check_alike({"a": params, "b": change(params, "finetune", method="lora", train_batch_size=8)})
    check_alike({"a": params, "b": change(params, "prepare", num_pairs=100)})
    check_alike({"a": params, "b": change(params, "score", batch_size=1)})
    with pytest.raises(UserError, match=r"b: sample\.guidance_scale is 5\.0, in a it is 7\.5; "):
        check_alike({"a": params, "b": change(params, "sample", guidance_scale=5.0)})
    with pytest.raises(UserError, match=r"b: prompts\.protocol is paper, in a it is broad"):
        check_alike({"a": params, "b": change(params, "prompts", protocol="paper")})


def test_subjects_that_are_compared_with_other_pictures_are_refused() -> None:
    params = change(load_params(), "finetune", data="subject")
    check_alike({"a": params, "b": change(params, "subject", num_pictures=16)})
    check_alike({"a": load_params(), "b": params})
    with pytest.raises(UserError, match=r"b: subject\.num_held_out_pictures is 4, in a it is 8"):
        check_alike({"a": params, "b": change(params, "subject", num_held_out_pictures=4)})


def test_names_that_say_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="name experiments"):
        main()
    with pytest.raises(UserError, match="a: named twice"):
        main("a", "a")
    with pytest.raises(UserError, match="baseline: it takes part in every duel"):
        main("baseline", "a")


@pytest.mark.usefixtures("experiments")
def test_an_unknown_experiment_is_named_with_what_lists_them() -> None:
    with pytest.raises(UserError, match=r"nonsense: no params\.yaml .*dvc exp show"):
        main("attn2", "nonsense")


def write_pictures_alone(name: str, gain: float) -> None:
    replace_in_params("  baseline: none ", "  baseline: ours ")
    replace_in_params("  finetuned: none ", f"  finetuned: {name} ")
    write_results(gain, "attn2")
    nothing = {"learning_rate": None, "num_trainable_parameters": 0, "num_steps": 0}
    write_json({"method": "pictures", **nothing}, paths.TRAINING)
    write_json({}, paths.COST)
    write_json({"is_paired": True}, paths.COMPARISON_TABLES / "verdict.json")


def test_pictures_of_which_no_training_is_known_duel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gains = {"theirs": 0.1, "others": -0.1}
    write_experiments({n: partial(write_pictures_alone, n, gain) for n, gain in gains.items()})
    main("theirs", "others")
    page = paths.DUEL_PAGE.read_text(encoding="utf-8")
    assert "+0.2000" in page
    assert "trained parameters; bars are" not in page  # of the chart by their number


@pytest.mark.usefixtures("experiments")
def test_numbers_of_the_page_are_those_of_the_table() -> None:
    main("attn2", "full")
    assert json.loads(json.dumps(paths.DUEL_PAGE.read_text(encoding="utf-8"))).count("+0.2000") >= 2
