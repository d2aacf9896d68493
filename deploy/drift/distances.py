"""How far two distributions are apart, and whether chance alone may do that.

Both are shares between the same edges: one of the calibration samples, one of what was counted in use. Values
of one sample (the pixels of an image) depend on each other, so that the samples count, not their values.

PSI, the population stability index, is the sum of (used - calibrated) · ln(used / calibrated) over the bins:
Siddiqi, "Credit Risk Scorecards" (2006), who reads 0.1 to 0.25 as some change and more as a shift. KS is the
largest difference of the distribution functions, here at the edges. Chance: the likelihood-ratio test of a
table of counts (scipy), whose bins are joined until each expects 5 samples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_LEAST_EXPECTED = 5.0
Shares = np.ndarray[Any, np.dtype[np.float64]]


def psi(calibrated: Shares, used: Shares, *, samples: float) -> float:
    """The population stability index. A bin without any counts as half a sample."""
    room = 0.5 / samples
    a, b = (np.maximum(shares, room) for shares in (calibrated, used))
    return float(np.sum((b - a) * np.log(b / a)))


def ks(calibrated: Shares, used: Shares) -> float:
    """The largest difference of the two distribution functions, 0..1."""
    return float(np.abs(np.cumsum(used - calibrated)).max())


def chance(calibrated: Shares, used: Shares, *, samples: tuple[float, float]) -> float:
    """The probability that samples of one distribution differ so much; `samples` are the numbers of both.

    1.0 where there are too few samples to say.
    """
    from scipy.stats import chi2_contingency

    tables = np.array([calibrated * samples[0], used * samples[1]])
    table = joined(tables, samples)
    if table.shape[1] < 2:
        return 1.0
    return float(chi2_contingency(table, correction=False, lambda_="log-likelihood").pvalue)


def joined(counts: Shares, samples: tuple[float, float]) -> Shares:
    """The two rows of counts, neighbours joined until both expect _LEAST_EXPECTED in each column."""
    smaller = min(samples) / sum(samples)
    columns: list[Any] = []
    gathered = np.zeros(2)
    for column in counts.T:
        gathered = gathered + column
        if smaller * gathered.sum() >= _LEAST_EXPECTED:
            columns.append(gathered)
            gathered = np.zeros(2)
    if columns:
        columns[-1] = columns[-1] + gathered
    return np.array(columns).T if columns else np.zeros((2, 0))


def excess(beyond: float, *, samples: tuple[float, float]) -> float:
    """The probability that chance puts such a share of values beyond the smallest and largest of `samples[0]`
    samples, when `samples[1]` were looked at: of one more sample that is 2 / (samples[0] + 1).
    """
    from scipy.stats import binom

    count, expected = round(beyond * samples[1]), 2 / (samples[0] + 1)
    return float(binom.sf(count - 1, round(samples[1]), min(1.0, expected)))


def shares_of(counts: Sequence[int] | Any) -> Shares:
    """Counts as shares."""
    array = np.asarray(counts, np.float64)
    return np.asarray(array / array.sum())
