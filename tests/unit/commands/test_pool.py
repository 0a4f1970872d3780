from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from stages.commands.pool import check_alike, main
from stages.config.mistakes import UserError
from stages.config.params import load_params
from tests.experiments import replace_in_params, write_experiments


def make_prompts(shift: float) -> pd.DataFrame:
    rows = [(f"p{i}", 0.1 + 0.01 * (i % 3) + shift) for i in range(20)]
    return pd.DataFrame(
        {
            "prompt_id": prompt_id,
            "set": "in_domain",
            "class": "cat",
            "prompt": prompt_id,
            "num_images": 4,
            "baseline": 0.5,
            "finetuned": 0.5 + difference,
            "difference": difference,
            "ci_low": difference,
            "ci_high": difference,
            "zero_shot_accuracy_baseline": 0.5,
            "zero_shot_accuracy_finetuned": 0.5,
            "p_value": 0.5,
            "p_value_holm": 1.0,
            "verdict": "",
        }
        for prompt_id, difference in rows
    )


def write_seed(seed: int, shift: float) -> None:
    replace_in_params("seed: 0                 # order", f"seed: {seed}   # order")
    Path("plots/data/comparison").mkdir(parents=True, exist_ok=True)
    make_prompts(shift).to_csv("plots/data/comparison/by_prompt.csv", index=False)


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """A repository with the experiments seed-0 and seed-1, where `dvc exp` puts them."""
    monkeypatch.chdir(tmp_path)
    shifts = enumerate((-0.01, 0.01))
    write_experiments({f"seed-{seed}": partial(write_seed, seed, shift) for seed, shift in shifts})


def test_experiments_are_read_by_name_and_pooled(experiments):
    main("seed-0", "seed-1")
    row = pd.read_csv("plots/pooled.csv").set_index("metric").loc["clip_cosine"]
    expected = pd.concat([make_prompts(-0.01), make_prompts(0.01)])["difference"].mean()
    assert row["difference"] == pytest.approx(expected)
    assert (row["num_seeds"], row["num_prompts"]) == (2, 20)
    assert row["ci_low"] < 0 < row["ci_high"]  # two seeds say little
    with pytest.raises(UserError, match=r"nonsense: no params\.yaml .*dvc exp show"):
        main("seed-0", "nonsense")


def test_without_experiments_or_with_one_named_twice_it_says_so():
    with pytest.raises(UserError, match="name experiments"):
        main()
    with pytest.raises(UserError, match="a: named twice"):
        main("a", "a")


def test_experiments_that_differ_in_more_than_their_seed_are_refused():
    first, second = load_params().model_dump(), load_params().model_dump()
    second["finetune"] |= {"seed": 1, "learning_rate": 0.5}
    with pytest.raises(UserError, match="b: finetune is not as in a"):
        check_alike({"a": first, "b": second})


def test_a_training_seed_that_repeats_is_refused():
    with pytest.raises(UserError, match=r"b: finetune\.seed is 0, as in a"):
        check_alike({name: load_params().model_dump() for name in "ab"})


def test_sections_that_change_no_difference_may_differ():
    first, second = load_params().model_dump(), load_params().model_dump()
    second["finetune"]["seed"] = 1
    second["compare"]["num_resamples"] = 100
    check_alike({"a": first, "b": second})
