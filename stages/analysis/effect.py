"""How large a difference is for its spread, and how large one had to be to be seen."""

import math

import numpy as np
from scipy import stats

from stages.analysis.resampling import Floats, smallest_p_value
from stages.config.params import CompareParams

POWER = 0.8
"""The usual chance with which a study should find what it looks for (Cohen 1988, section 2.4)."""


def compute_effect_size(differences: Floats) -> float:
    """Cohen's d_z of paired differences, (P,): mean / sd (Cohen 1988, eq. 2.3.5).

    NaN where the sd is 0 or there is one difference.
    """
    if len(differences) <= 1 or np.ptp(differences) == 0:
        return math.nan
    return float(differences.mean() / differences.std(ddof=1))


def find_smallest_detectable_difference(differences: Floats, params: CompareParams) -> float:
    """The true difference that differences, (P,), of this spread would have shown, at 80 % power.

    (t_{1 - alpha/2} + t_power) sd / sqrt(P), t with P - 1 degrees of freedom (Bloom 1995, "Minimum
    detectable effects"). NaN where so few prompts cannot show any, however large.
    """
    num_units = len(differences)
    alpha = 1 - params.confidence_level
    if num_units <= 1 or smallest_p_value(num_units, params.num_resamples) >= alpha:
        return math.nan
    critical, power = stats.t.ppf([1 - alpha / 2, POWER], num_units - 1)
    return float((critical + power) * stats.sem(differences))
