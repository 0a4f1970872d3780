"""How often intervals and p-values are right, over simulated experiments with a known truth."""

import numpy as np
import pytest

from stages.analysis.multiple import adjust_holm
from stages.analysis.resampling import bootstrap_interval, sign_flip_p_value
from tests.unit.analysis.builders import PARAMS

NUM_DRAWS = 2000
NUM_PROMPTS = 50
QUICK = PARAMS.model_copy(update={"num_resamples": 400})


def draw_normal(rng, size):
    return rng.normal(0.01, 0.03, size)


def draw_skewed(rng, size):
    """A gamma with mean 0.01 and skewness 1.4."""
    return 0.01 + 0.02 * (rng.gamma(2.0, 1.0, size) - 2)


def draw_heavy_tailed(rng, size):
    """Student's t of 3 degrees of freedom: no fourth moment."""
    return 0.01 + 0.03 * rng.standard_t(3, size)


def draw_nested(rng, size):
    """Four pictures a prompt that share their prompt's effect, averaged."""
    prompts = rng.normal(0.01, 0.03, size)
    return (prompts[..., None] + rng.normal(0, 0.06, (*size, 4))).mean(axis=-1)


def draw_coarse(rng, size):
    """Differences of accuracy over four pictures, most of them zero."""
    changes = rng.choice([-1, 0, 1], p=[0.05, 0.89, 0.06], size=(*size, 4))
    return changes.mean(axis=-1)


@pytest.mark.parametrize(
    "draw", [draw_normal, draw_skewed, draw_heavy_tailed, draw_nested, draw_coarse]
)
def test_95_percent_intervals_cover_the_truth_in_93_to_97_percent(draw):
    rng = np.random.default_rng(0)
    draws = draw(rng, (NUM_DRAWS, NUM_PROMPTS))
    limits = np.array([bootstrap_interval(differences, QUICK) for differences in draws])
    coverage = np.mean((limits[:, 0] <= 0.01) & (limits[:, 1] >= 0.01))
    assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("num_prompts", [5, 9])
def test_ten_classes_without_a_difference_raise_a_false_alarm_in_under_5_percent(num_prompts):
    """With 5 prompts no p-value is small enough; with 9 it takes Holm's factor to stay under."""
    rng = np.random.default_rng(1)
    params = PARAMS.model_copy(update={"num_resamples": 2**num_prompts})
    differences = rng.normal(0, 0.03, (NUM_DRAWS, 10, num_prompts))
    parts = np.split(differences, 20)  # all at once would take gigabytes
    p_values = np.concatenate([sign_flip_p_value(part, params) for part in parts])
    adjusted = np.array([adjust_holm(classes) for classes in p_values])
    assert np.mean((adjusted < 0.05).any(axis=1)) < 0.05
    if num_prompts == 9:
        assert np.mean((p_values < 0.05).any(axis=1)) > 0.3
