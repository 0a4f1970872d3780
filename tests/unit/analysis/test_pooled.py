import numpy as np
import pandas as pd
import pytest

from stages.analysis.pooled import find_components, find_half_width, find_p_value, pool_seeds
from stages.config.mistakes import UserError
from tests.unit.analysis.builders import PARAMS


def make_by_prompt(differences: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "set": "in_domain",
            "prompt_id": [f"p{i}" for i in range(len(differences))],
            "difference": differences,
            "zero_shot_accuracy_baseline": 0.5,
            "zero_shot_accuracy_finetuned": 0.75,
        }
    )


def test_mean_squares_are_those_of_a_two_way_table():
    """By hand: rows 1 3 and 3 9; row means 2 and 6, column means 2 and 6, residuals ±1."""
    components = find_components(np.array([[1.0, 3.0], [3.0, 9.0]]))
    assert components == pytest.approx((16.0, 16.0, 4.0))


@pytest.mark.parametrize("sd_seeds", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("num_seeds", [3, 5])
def test_intervals_over_seeds_and_prompts_cover_at_least_93_percent(sd_seeds, num_seeds):
    rng = np.random.default_rng(0)
    num_draws, num_prompts = 1000, 50
    draws = (
        rng.normal(0, sd_seeds, (num_draws, num_seeds, 1))
        + rng.normal(0, 0.03, (num_draws, 1, num_prompts))
        + rng.normal(0, 0.03, (num_draws, num_seeds, num_prompts))
    )
    covered = [abs(table.mean()) <= find_half_width(table, 0.95) for table in draws]
    assert np.mean(covered) >= 0.93


def test_p_value_is_under_alpha_exactly_where_the_interval_excludes_zero():
    rng = np.random.default_rng(1)
    for mean in (0.0, 0.01, 0.02, 0.1):
        table = rng.normal(mean, 0.03, (3, 20))
        excludes_zero = abs(table.mean()) > find_half_width(table, 0.95)
        assert (find_p_value(table) < 0.05) == excludes_zero


def test_training_noise_widens_the_interval():
    rng = np.random.default_rng(2)
    prompts = rng.normal(0.05, 0.01, 50)
    steady = {str(seed): make_by_prompt(prompts + rng.normal(0, 0.01, 50)) for seed in range(3)}
    noisy = {
        name: table.assign(difference=table["difference"] + shift)
        for (name, table), shift in zip(steady.items(), (-0.1, 0.0, 0.1), strict=True)
    }
    steady_row, noisy_row = (pool_seeds(tables, PARAMS).iloc[0] for tables in (steady, noisy))
    assert steady_row["verdict"] == "better"
    assert noisy_row["verdict"] == "too little data to say"
    assert noisy_row["difference"] == pytest.approx(steady_row["difference"])
    assert noisy_row["sd_seeds"] == pytest.approx(0.1, rel=0.2)
    assert noisy_row["sd_prompts"] == pytest.approx(steady_row["sd_prompts"])


def test_seeds_without_any_difference_give_exact_zeros():
    tables = {str(seed): make_by_prompt(np.zeros(5)) for seed in range(2)}
    row = pool_seeds(tables, PARAMS).iloc[0]
    assert row[["difference", "ci_low", "ci_high", "p_value"]].tolist() == [0, 0, 0, 1]
    assert row["verdict"] == "no difference shown"


def test_one_experiment_or_other_prompts_are_refused():
    table = make_by_prompt(np.arange(5.0))
    with pytest.raises(UserError, match="two or more"):
        pool_seeds({"a": table}, PARAMS)
    with pytest.raises(UserError, match="not the same in-domain prompts"):
        pool_seeds({"a": table, "b": table.iloc[1:]}, PARAMS)
