"""How good the best of B trials is to be expected, so that arms can be compared at equal effort of tuning."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from tlx.measure.samples import Values, finite


def expected_best_with_replacement(scores: ArrayLike, budgets: ArrayLike) -> Values:
    """The expected best of B trials drawn with replacement from those that were made.

    `sum_i v_(i) [(i / n)^B - ((i - 1) / n)^B]`: the trials are taken for the whole distribution, so that the curve
    never passes the best of them and lies below the truth.

    Args:
      scores: (n,) finite validation scores of the trials, higher is better, n ≥ 1.
      budgets: numbers of trials B ≥ 1, any shape.

    Returns:
      Expected best scores, shape of `budgets`.

    Raises:
      ValueError: if a score is not finite or a budget below 1.

    Source: Dodge et al. 2019, "Show your work: improved reporting of experimental results", equation 5.

    >>> expected_best_with_replacement([0.25, 0.75], [1, 2, 3]).tolist()
    [0.5, 0.625, 0.6875]
    """
    values, budget = _checked(scores, budgets)
    place = np.arange(1, values.size + 1)
    weight = (place / values.size) ** budget[..., None] - ((place - 1) / values.size) ** budget[..., None]
    best: Values = weight @ values
    return best


def expected_best_without_replacement(scores: ArrayLike, budgets: ArrayLike) -> Values:
    """The expected best of B trials drawn without replacement from those that were made.

    `sum_i v_(i) C(i - 1, B - 1) / C(n, B)`: the mean of the best over all subsets of B trials, without bias if the
    trials are independent draws. At B = n it is the best of all.

    Args:
      scores: (n,) finite validation scores of the trials, higher is better, n ≥ 1.
      budgets: numbers of trials, 1 ≤ B ≤ n, any shape.

    Returns:
      Expected best scores, shape of `budgets`.

    Raises:
      ValueError: if a score is not finite or a budget not between 1 and n.

    Source: Tang et al. 2020, "Showing your work doesn't always work".

    >>> expected_best_without_replacement([0.25, 0.5, 0.75], [1, 2, 3]).round(4).tolist()
    [0.5, 0.6667, 0.75]
    """
    values, budget = _checked(scores, budgets)
    if np.any(budget > values.size):
        raise ValueError(f"budgets: expected at most {values.size}, the number of trials, got {budget.max()}")
    place = np.arange(values.size)
    # By logarithms, as the numbers of subsets overflow; a subset of B is never below the B-th place.
    chosen = budget[..., None]
    with_enough = place >= chosen - 1
    lower = np.where(with_enough, place - chosen + 1, 0)
    log_ways = special.gammaln(place + 1) - special.gammaln(chosen) - special.gammaln(lower + 1)
    log_all = special.gammaln(values.size + 1) - special.gammaln(chosen + 1) - special.gammaln(values.size - chosen + 1)
    best: Values = np.where(with_enough, np.exp(log_ways - log_all), 0.0) @ values
    return best


def _checked(scores: ArrayLike, budgets: ArrayLike) -> tuple[Values, np.ndarray]:
    values, budget = np.sort(finite(scores, 1, "scores")), np.asarray(budgets)
    if budget.dtype.kind not in "iu" or np.any(budget < 1):
        raise ValueError(f"budgets: expected whole numbers from 1, got {budgets!r}")
    return values, budget
