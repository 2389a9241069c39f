"""Several ways over many data sets: Friedman's test of their ranks, and which of them differ."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tlx.measure.multiplicity import holm
from tlx.measure.samples import Values, unrounded


@dataclass(frozen=True)
class Friedman:
    """Whether several ways have the same ranks.

    Args:
      statistic: chi-squared with K - 1 degrees of freedom, corrected for ties.
      p: its p-value, 1 if all ranks are tied.
      mean_ranks: (K,) of the ways over data sets, 1 being the best.
      tasks: number of data sets N.
    """

    statistic: float
    p: float
    mean_ranks: tuple[float, ...]
    tasks: int


@dataclass(frozen=True)
class RankDifference:
    """Two ways after Friedman's test.

    Args:
      first: place of the one with the better ranks.
      second: place of the other.
      difference: of their mean ranks, not negative.
      p_holm: normal p-value, adjusted for all pairs after Holm.
      p_nemenyi: p-value after Nemenyi, for all pairs at once.
    """

    first: int
    second: int
    difference: float
    p_holm: float
    p_nemenyi: float


def friedman(scores_NK: ArrayLike) -> Friedman:
    """Friedman's test of K ways on N data sets, ranked within each data set.

    Args:
      scores_NK: [data sets, ways], finite, higher is better, N ≥ 2 and K ≥ 3.

    Raises:
      ValueError: if a score is not finite, or there are fewer data sets or ways.

    Source: Friedman 1937; Demsar 2006, section 3.2.2.

    >>> found = friedman([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.9, 0.7, 0.8]])
    >>> round(found.statistic, 3), [round(rank, 3) for rank in found.mean_ranks]
    (4.667, [1.0, 2.333, 2.667])
    """
    scores = np.asarray(scores_NK, np.float64)
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 3 or not np.all(np.isfinite(scores)):
        raise ValueError(
            f"scores_NK: expected finite scores of 3 ways or more on 2 data sets or more, got shape {scores.shape}"
        )
    ranks_NK = stats.rankdata(unrounded(-scores), axis=1)
    mean_ranks = tuple(float(rank) for rank in ranks_NK.mean(axis=0))
    if not np.any(np.ptp(ranks_NK, axis=1)):
        return Friedman(0.0, 1.0, mean_ranks, len(scores))
    found = stats.friedmanchisquare(*ranks_NK.T)
    return Friedman(float(found.statistic), float(found.pvalue), mean_ranks, len(scores))


def rank_differences(found: Friedman) -> list[RankDifference]:
    """Every pair of ways, the greatest difference first.

    Args:
      found: Friedman's test, to be looked behind only if it is significant.

    Source: Demsar 2006, section 3.2.2: `z = (R_i - R_j) / sqrt(K (K + 1) / (6 N))`.
    """
    ranks: Values = np.array(found.mean_ranks)
    first_P, second_P = np.triu_indices(len(ranks), 1)
    z_P = np.abs(ranks[first_P] - ranks[second_P]) / _standard_error(len(ranks), found.tasks)
    p_holm_P = holm(np.minimum(1.0, 2 * stats.norm.sf(z_P)))
    p_nemenyi_P = stats.studentized_range.sf(z_P * math.sqrt(2), len(ranks), np.inf)
    pairs = []
    for i, j, p_holm, p_nemenyi in zip(first_P, second_P, p_holm_P, p_nemenyi_P, strict=True):
        better, worse = (int(i), int(j)) if ranks[i] <= ranks[j] else (int(j), int(i))
        apart = float(ranks[worse] - ranks[better])
        pairs.append(RankDifference(better, worse, apart, float(p_holm), min(1.0, float(p_nemenyi))))
    return sorted(pairs, key=lambda pair: -pair.difference)


def critical_difference(ways: int, tasks: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference: mean ranks that are further apart differ.

    Args:
      ways: K ≥ 2, all compared with one another.
      tasks: N ≥ 1 data sets.
      alpha: the chance that any two equal ways are told apart.

    Returns:
      A difference of mean ranks.

    Source: Nemenyi 1963; Demsar 2006, table 5: `q sqrt(K (K + 1) / (6 N))`.

    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    q = float(stats.studentized_range.ppf(1 - alpha, ways, np.inf)) / math.sqrt(2)
    return q * _standard_error(ways, tasks)


def _standard_error(ways: int, tasks: int) -> float:
    return math.sqrt(ways * (ways + 1) / (6 * tasks))
