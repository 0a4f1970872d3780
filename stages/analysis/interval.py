"""What an interval is; apart from resampling, because the report has no use for scipy."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Confidence limits; both NaN where one value alone says nothing about its spread."""

    low: float
    high: float
