import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from stages.analysis import experts
from stages.analysis.experts import (
    START,
    ExpertUse,
    compare_with_start,
    measure_experts,
    measure_information,
)
from stages.config.params import load_params

PARAMS = load_params().compare
CLASSES = ("cat", "dog", "owl")
NUM_PROMPTS = 6
"""Of a class."""
SKEWED = np.array([0.6, 0.3, 0.1])


def draw_shares(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([2.0, 1.0, 3.0], shape)


def build_samples(weights: np.ndarray, at_start: np.ndarray) -> pd.DataFrame:
    """Two pictures a prompt with the weights (C, N) of their class, and one of another set."""
    rows = [
        {
            "prompt_id": f"{name}-{prompt}",
            "set": "in_domain",
            "class": name,
            "experts": {"layer": weights[number], f"layer{START}": at_start[number]},
        }
        for prompt in range(NUM_PROMPTS)
        for number, name in enumerate(CLASSES)
        for _ in range(2)
    ]
    rows.append({**rows[0], "prompt_id": "mug", "set": "marketing", "class": "coffee mug"})
    return pd.DataFrame(rows)


def measure(weights: np.ndarray, at_start: np.ndarray) -> ExpertUse:
    use = measure_experts(build_samples(weights, at_start), PARAMS)
    assert use is not None
    return use


def turn(shares: np.ndarray) -> np.ndarray:
    """Another expert for each of three classes."""
    return np.stack([np.roll(shares, number) for number in range(3)])


def test_the_information_is_the_distance_of_class_and_expert_from_independence() -> None:
    weights = draw_shares((10, 2), seed=0)  # (P, L, N)
    firsts = np.array([0, 3, 7])
    found = measure_information(weights, firsts)
    for layer in range(2):
        joint = np.stack([part[:, layer].sum(0) for part in np.split(weights, firsts[1:])]) / 10
        apart = np.outer(joint.sum(1), joint.sum(0))
        assert found[layer] == pytest.approx(entropy(joint.ravel(), apart.ravel(), base=2))


def test_an_expert_a_class_tells_all_and_one_use_for_all_classes_nothing() -> None:
    each = np.repeat(np.eye(4), 5, axis=0)[:, None]
    assert measure_information(each, np.arange(0, 20, 5)) == pytest.approx([2.0])
    same = np.broadcast_to(SKEWED, (20, 1, 3))
    assert measure_information(same, np.arange(0, 20, 5)) == pytest.approx([0.0], abs=1e-12)


def test_what_training_added_is_told_with_its_p_value_and_counts() -> None:
    use = measure(turn(SKEWED), turn(np.full(3, 1 / 3)))
    information = np.log2(3) - entropy(SKEWED, base=2)
    assert use.by_layer["information"].tolist() == pytest.approx([information])
    assert use.by_layer["information_at_start"].tolist() == pytest.approx([0], abs=1e-12)
    assert use.sentence == (
        "Training made experts specialise by class: the class of an in-domain prompt tells "
        f"{information:.4f} of 1.58 bits of the expert that a token goes to, a mean over 1 layer; "
        "with the routers as they were before training it is 0.0000 (p < 0.001, 18 prompts of 3 "
        "classes)."
    )


def test_routers_that_told_classes_apart_from_the_start_are_no_specialisation() -> None:
    use = measure(turn(SKEWED), turn(SKEWED))
    assert use.by_layer["information"].item() > 0.2
    assert use.sentence.startswith("It is not shown that training made experts specialise")
    assert "(p 1.0000, 18 prompts" in use.sentence


def test_training_may_take_away_what_routers_told() -> None:
    use = measure(turn(np.full(3, 1 / 3)), turn(SKEWED))
    assert use.sentence.startswith("Training made experts tell classes apart less: ")


def test_chance_alone_is_seldom_called_specialisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "MAX_SWAPS", 99)
    firsts = np.arange(0, 24, 6)
    p_values = np.array(
        [
            compare_with_start(*(draw_shares((24, 2), 2 * run + i) for i in (0, 1)), firsts, run)
            for run in range(200)
        ]
    )
    assert (p_values <= 0.05).mean() < 0.1
    assert 0.4 < p_values.mean() < 0.6


def test_weights_are_means_of_a_group_and_deviations_those_from_all_in_domain_prompts() -> None:
    weights = draw_shares((3,), seed=1)
    by_group = measure(weights, weights).by_group
    assert list(dict.fromkeys(by_group["group"])) == [*CLASSES, "marketing prompts"]
    for number, name in enumerate(CLASSES):
        rows = by_group[by_group["group"] == name]
        assert rows["expert"].tolist() == [1, 2, 3]
        np.testing.assert_allclose(rows["weight"], weights[number])
        np.testing.assert_allclose(rows["deviation"], weights[number] - weights.mean(axis=0))


def test_a_prompt_counts_once_however_many_pictures_it_has() -> None:
    samples = build_samples(turn(SKEWED), turn(SKEWED))
    more = pd.concat([samples, samples.iloc[[0] * 9]]).sample(frac=1, random_state=0)
    few, many = (measure_experts(table, PARAMS) for table in (samples, more))
    assert few
    assert many
    pd.testing.assert_frame_equal(many.by_layer, few.by_layer)


def test_with_one_class_there_is_nothing_to_specialise_in() -> None:
    samples = build_samples(turn(SKEWED), turn(SKEWED))
    use = measure_experts(samples[samples["class"].isin(["cat", "coffee mug"])], PARAMS)
    assert use
    assert use.sentence.startswith("All in-domain prompts are of one class")


def test_without_experts_or_with_a_single_one_nothing_is_said() -> None:
    alone = np.ones((3, 1))
    assert measure_experts(build_samples(alone, alone), PARAMS) is None
    assert measure_experts(build_samples(alone, alone).drop(columns="experts"), PARAMS) is None
