"""Tests of whether paired differences are centred at zero, besides the sign-flip test of `stats`."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tlx.measure.samples import constant, finite, unrounded
from tlx.measure.stats import MOST_FLIPPED, sign_flip_p


def t_test_p(x: ArrayLike) -> float:
    """The two-sided p-value of a mean of zero by Student's t; below 0.05 where `t_interval` excludes 0.

    It takes the differences to be normal. Where they are all equal, t is a division by zero and says nothing; the
    p-value is then that of the signs, 2 / 2^n, or 1 if they are all 0.

    Args:
      x: (n,) finite paired differences, n ≥ 2.

    Raises:
      ValueError: if a value is not finite or there are fewer than two.

    Source: Student 1908, "The probable error of a mean".

    >>> round(t_test_p([1.0, 2.0, 3.0]), 4), t_test_p([0.25, 0.25, 0.25])
    (0.0742, 0.25)
    """
    values = finite(x, 2)
    if constant(values):
        return 1.0 if constant(np.append(values, 0.0)) else 2.0 / 2.0**values.size
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def wilcoxon_p(x: ArrayLike) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test, for two ways over many data sets.

    Up to 40 differences it is exact, with ties and zeros, being the sign-flip test of the ranks; beyond them it is
    scipy's normal approximation. Zeros are ranked and then count for neither side.

    Args:
      x: (n,) finite paired differences, such as one gain for each data set, n ≥ 1.

    Raises:
      ValueError: if a value is not finite or there is none.

    Source: Wilcoxon 1945; Pratt 1959 (zeros); Demsar 2006, "Statistical comparisons of classifiers over multiple
    data sets", section 3.1.3.

    >>> wilcoxon_p([0.1, 0.2, 0.3, 0.4, 0.5, -0.05]), wilcoxon_p([0.0, 0.0])
    (0.0625, 1.0)
    """
    values = unrounded(finite(x, 1))
    if not np.any(values):
        return 1.0
    if values.size <= MOST_FLIPPED:
        return sign_flip_p(np.sign(values) * stats.rankdata(np.abs(values)))
    return float(stats.wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue)
