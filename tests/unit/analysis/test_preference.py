import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.analysis.preference import (
    ALL,
    estimate_share,
    measure_rater_agreement,
    tabulate_preference,
    tabulate_prompts,
)

NUM_DRAWS = 2000
TRUTHS = {
    "little": (0.3, 0.5, 1.0),
    "some": (1.0, 0.5, 0.7),
    "much, raters differ": (0.5, 1.0, 1.0),
    "nearly all": (2.5, 0.5, 1.0),
}
"""Mean preference in logits, and the standard deviations of raters and of prompts."""


def spread(values: np.ndarray) -> tuple[np.ndarray, list[str], list[str]]:
    """Votes (R, P) as values with their raters and prompts."""
    raters, prompts = np.indices(values.shape)
    return values.ravel(), list(map(str, raters.ravel())), list(map(str, prompts.ravel()))


def vote(eta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """1, 0 or 1/2 from a preference in logits; less than 0.3 from zero is no difference."""
    felt = eta + rng.logistic(size=eta.shape)
    return np.where(felt > 0.3, 1, np.where(felt < -0.3, 0, 0.5))


def expect(eta: np.ndarray) -> float:
    """The mean of `vote`."""
    return float((stats.logistic.sf(0.3 - eta) + stats.logistic.sf(-0.3 - eta)).mean() / 2)


def test_of_one_rater_the_interval_is_wilsons_for_the_prompts_variance():
    values = np.array([[1, 1, 1, 0, 0.5, 1, 0, 1, 1, 0.5]], float)
    found = estimate_share(*spread(values), 0.95)
    p, t = 0.7, stats.t.ppf(0.975, 9)
    # The p0 at which |p - p0| is t standard errors, the variance in proportion to p0 (1 - p0).
    variance = values.var(ddof=1) / 10
    assert found.share == pytest.approx(p)
    for end in (found.low, found.high):
        assert (p - end) ** 2 == pytest.approx(t**2 * variance * end * (1 - end) / (p * (1 - p)))


def test_of_one_rater_a_hundred_decided_votes_are_a_proportion():
    values = (np.arange(100) < 60).astype(float)[None]
    found = estimate_share(*spread(values), 0.95)
    wilson = stats.binomtest(60, 100).proportion_ci(method="wilson")
    assert found[1:] == pytest.approx((wilson.low, wilson.high), abs=3e-3)


def test_raters_who_differ_widen_the_interval_and_ones_who_do_not_narrow_it():
    rng = np.random.default_rng(0)
    alone = estimate_share(*spread((rng.random((1, 40)) < 0.5).astype(float)), 0.95)
    leanings = np.array([[0.1], [0.5], [0.9]])
    differ = estimate_share(*spread((rng.random((3, 40)) < leanings).astype(float)), 0.95)
    assert differ.high - differ.low > 1.5 * (alone.high - alone.low)
    noisy = rng.integers(0, 2, (20, 40)).astype(float)
    many = estimate_share(*spread(noisy), 0.95)
    assert many.high - many.low < 0.5 * (alone.high - alone.low)


def test_votes_that_are_all_alike_are_no_certainty():
    wilson = stats.binomtest(40, 40).proportion_ci(method="wilson")
    found = estimate_share(*spread(np.ones((3, 40))), 0.95)
    assert found.share == found.high == 1
    assert found.low == pytest.approx(wilson.low, abs=6e-3)
    even = estimate_share(*spread(np.full((1, 40), 0.5)), 0.95)
    assert even.low == pytest.approx(0.35, abs=0.01)
    assert even.high == pytest.approx(0.65, abs=0.01)


def test_equal_means_of_two_raters_are_no_narrower_than_prompts_alone():
    values = np.tile([[1, 1, 0, 0], [1, 0, 1, 0]], 3).astype(float)
    found = estimate_share(*spread(values), 0.95)
    assert found == pytest.approx(estimate_share(*spread(values.mean(axis=0)[None]), 0.95))


def test_one_prompt_has_no_interval():
    found = estimate_share(np.array([1.0, 0.0]), ["a", "b"], ["p", "p"], 0.95)
    assert found.share == 0.5
    assert np.isnan(found.low)


def test_raters_who_stopped_early_count_by_their_votes():
    rng = np.random.default_rng(0)
    whole = spread(vote(rng.normal(0.3, 1, (3, 30)), rng))
    kept = np.arange(90) < 70
    part = [np.array(column)[kept] for column in whole]
    found = estimate_share(part[0], part[1].tolist(), part[2].tolist(), 0.95)
    assert found.share == pytest.approx(part[0].mean())
    assert 0 < found.low < found.share < found.high < 1


@pytest.mark.parametrize(("num_raters", "num_prompts"), [(1, 40), (3, 30), (20, 15)])
def test_against_a_destroyed_model_nearly_all_votes_are_for_the_baseline(num_raters, num_prompts):
    rng = np.random.default_rng(0)
    eta = 6 + rng.normal(0, 0.5, (num_raters, 1)) + rng.normal(0, 1, (1, num_prompts))
    found = estimate_share(*spread(vote(eta, rng)), 0.95)
    assert found.share > 0.97
    assert found.low > 0.75


def make_votes() -> pd.DataFrame:
    """Two raters, four pairs of two sets: the first always prefers fine-tuned, the second never."""
    rows = [
        ("fits_text", rater, f"p{p}", f"p{p}.png", ("in_domain", "marketing")[p // 3], "c", value)
        for rater, value in (("1", 1.0), ("2", 0.0))
        for p in range(4)
    ]
    columns = ["question", "rater", "prompt_id", "file_name", "set", "class", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_tables_have_all_pictures_each_set_and_each_class():
    table = tabulate_preference(make_votes(), 0.95)
    assert table[["set", "class", "num_prompts", "num_votes"]].to_numpy().tolist() == [
        [ALL, ALL, 4, 8],
        ["in_domain", ALL, 3, 6],
        ["marketing", ALL, 1, 2],
        ["in_domain", "c", 3, 6],
        ["marketing", "c", 1, 2],
    ]
    assert set(table["preference"]) == {0.5}
    prompts = tabulate_prompts(make_votes())
    assert prompts["preference"].tolist() == [0.5] * 4
    assert prompts["num_raters"].tolist() == [2] * 4


def test_agreement_of_raters_is_over_all_twos():
    votes = make_votes()
    assert measure_rater_agreement(votes) == 0
    third = votes[votes["rater"] == "1"].assign(rater="3")
    assert measure_rater_agreement(pd.concat([votes, third])) == pytest.approx(1 / 3)
    assert np.isnan(measure_rater_agreement(third))


@pytest.mark.thorough
@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize(("num_raters", "num_prompts"), [(1, 40), (3, 30), (20, 15)])
def test_intervals_cover_the_truth_as_often_as_they_say(num_raters, num_prompts, name):
    """93 to 97 %. Of one rater the truth is that rater's own mean over prompts."""
    mean, sd_raters, sd_prompts = TRUTHS[name]
    rng = np.random.default_rng(0)
    deviates = rng.normal(size=20_000)
    over_all = expect(mean + deviates * np.hypot(sd_raters, sd_prompts))
    num_covered = 0
    for _ in range(NUM_DRAWS):
        raters = rng.normal(0, sd_raters, (num_raters, 1))
        eta = mean + raters + rng.normal(0, sd_prompts, (1, num_prompts))
        found = estimate_share(*spread(vote(eta, rng)), 0.95)
        own = expect(mean + raters + deviates[:2000] * sd_prompts) if num_raters == 1 else over_all
        num_covered += found.low <= own <= found.high
    assert 0.93 <= num_covered / NUM_DRAWS <= 0.97


@pytest.mark.thorough
@pytest.mark.parametrize(("num_raters", "num_prompts"), [(1, 40), (3, 30), (20, 15)])
def test_an_experiment_against_itself_shows_no_preference(num_raters, num_prompts):
    rng = np.random.default_rng(0)
    num_called = 0
    for _ in range(NUM_DRAWS):
        # Equal pictures: a rater sees no difference at a rate of one's own, or guesses.
        sees = rng.random((num_raters, 1))
        guesses = rng.integers(0, 2, (num_raters, num_prompts)).astype(float)
        values = np.where(rng.random(guesses.shape) < sees, 0.5, guesses)
        found = estimate_share(*spread(values), 0.95)
        num_called += not found.low <= 0.5 <= found.high
    assert num_called / NUM_DRAWS <= 0.06
