"""How well a cheap estimate ranks models: predicted scores beside those that were measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tlx.measure.expected_best import expected_best_without_replacement
from tlx.measure.resampling import percentile_interval, portions
from tlx.measure.samples import Values, finite, unrounded
from tlx.measure.stats import Interval, widened

TOPS = (1, 3)
RESAMPLES = 1999
_FEWEST = 5  # models below which resamples are mostly a few of them over and over


@dataclass(frozen=True)
class Ranking:
    """Agreement of predicted with measured scores, each with an interval over models.

    A value that is undefined, such as a correlation with a constant, is NaN.

    Args:
      weighted_tau: Kendall's τ in which mistakes among the best weigh more, -1 to 1.
      kendall: Kendall's τ-b, -1 to 1.
      pearson: linear correlation, -1 to 1.
      spearman: correlation of ranks, -1 to 1.
      rel_at: for each k the best measured score among the k predicted best, as a share of the best of all.
      recall_at: for each k the chance that the best of all is among the k predicted best: 0 or 1 without ties.
    """

    weighted_tau: Interval
    kendall: Interval
    pearson: Interval
    spearman: Interval
    rel_at: Mapping[int, Interval]
    recall_at: Mapping[int, Interval]


def rank_scores(
    predicted_M: ArrayLike,
    measured_M: ArrayLike,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    tops: tuple[int, ...] = TOPS,
) -> Ranking:
    """Score the scores that an estimator gives to M models, or sources, for one target.

    Intervals are percentile intervals over resampled models. Few models tell little: below 5 there is none.

    Measured at a nominal 95 %, normal and lognormal scores of a correlation of 0.5 or 0.8: those of the correlations
    cover 91.5 to 98.5 % for 6 models, 92.5 to 98.5 % for 8 to 40; Pearson's is `stats.widened`, without which it
    covers 90 %. Perfect agreement has an interval of no width. Those of `rel_at` and `recall_at` are rough: a model
    that is drawn twice takes two of the k places.

    Args:
      predicted_M, measured_M: (M,) finite, higher is better: in any unit; accuracies or gains, of which `rel_at`
        needs a best one above 0.
      rng: decides the resamples, the same ones for all measures.
      level, resamples: coverage, 0 to 1; number of bootstrap samples.
      tops: the k of `rel_at` and `recall_at`; those above M are left out.

    Raises:
      ValueError: if a value is not finite, or the two differ in number.

    Source: Vigna 2015, "A weighted correlation index for rankings with ties" (hyperbolic weights of the ranks, as
    scipy's `weightedtau`); Li et al. 2021, "Ranking neural checkpoints" (Rel@k, Recall@k). Models that are
    predicted the same are taken in every order, and the mean is given.

    >>> found = rank_scores([1, 2, 3, 4], [0.5, 0.25, 0.75, 1.0], np.random.default_rng(0))
    >>> round(found.spearman.mean, 4), found.rel_at[1].mean, found.recall_at[1].mean, found.kendall.kind
    (0.8, 1.0, 1.0, 'none')
    """
    predicted, measured = finite(predicted_M, 0, "predicted_M"), unrounded(finite(measured_M, 0, "measured_M"))
    models = predicted.size
    if models != measured.size:
        raise ValueError(f"measured_M: expected {models} values, one for each model, got {measured.size}")
    enough = models >= _FEWEST
    drawn_BM = rng.integers(0, max(1, models), (resamples if enough else 0, max(1, models)))
    x_BM, y_BM = predicted[drawn_BM], measured[drawn_BM]

    def judged(point: float, replicates_B: Values, at: float = level) -> Interval:
        if not enough:
            return Interval(point, float("nan"), float("nan"), models, "none")
        return percentile_interval(point, replicates_B, models, at)

    weighted, kendall, pearson, spearman = _correlated(predicted, measured)
    weighted_B, kendall_B = _taus(x_BM, y_BM)
    spearman_B = _correlations(stats.rankdata(x_BM, axis=1), stats.rankdata(y_BM, axis=1))
    known = [k for k in tops if k <= models]
    return Ranking(
        weighted_tau=judged(weighted, weighted_B),
        kendall=judged(kendall, kendall_B),
        pearson=judged(pearson, _correlations(x_BM, y_BM), widened(level, models) if enough else level),
        spearman=judged(spearman, spearman_B),
        rel_at={k: judged(_rel(predicted, measured, k), _rel_at(x_BM, y_BM, k)) for k in known},
        recall_at={k: judged(_recall(predicted, measured, k), _recall_at(x_BM, y_BM, k)) for k in known},
    )


def _correlated(predicted: Values, measured: Values) -> list[float]:
    """Weighted τ, τ-b, Pearson's and Spearman's correlation."""
    flat = predicted.size < 2 or not np.ptp(predicted) or not np.ptp(measured)
    if flat:
        return [float("nan")] * 4
    weighted, kendall, spearman = (
        float(measure(predicted, measured).statistic)
        for measure in (stats.weightedtau, stats.kendalltau, stats.spearmanr)
    )
    # scipy's Pearson warns where values differ by little for their size
    return [weighted, kendall, float(_correlations(predicted[None], measured[None])[0]), spearman]


def _rel(predicted: Values, measured: Values, k: int) -> float:
    best = float(measured.max())
    return _best_of(predicted, measured, k) / best if best > 0 else float("nan")


def _recall(predicted: Values, measured: Values, k: int) -> float:
    return _best_of(predicted, (measured == measured.max()).astype(float), k)


def _best_of(predicted: Values, measured: Values, k: int) -> float:
    """The best measured score among the k predicted best, the mean over all orders of those predicted the same."""
    least = np.sort(predicted)[-k]
    surely = measured[predicted > least]
    perhaps = measured[predicted == least]
    lifted = np.maximum(perhaps, surely.max(initial=-np.inf))
    return float(expected_best_without_replacement(lifted, k - surely.size))


def _top(x_BM: Values, y_BM: Values, k: int) -> Values:
    """The best y among the k greatest x; resamples are in random order, so that a stable sort breaks ties by chance."""
    top_BK = np.argsort(-x_BM, axis=1, kind="stable")[:, :k]
    best_B: Values = np.take_along_axis(y_BM, top_BK, axis=1).max(axis=1)
    return best_B


def _rel_at(x_BM: Values, y_BM: Values, k: int) -> Values:
    best_B = y_BM.max(axis=1)
    return _divided(_top(x_BM, y_BM, k), np.where(best_B > 0, best_B, 0.0))


def _recall_at(x_BM: Values, y_BM: Values, k: int) -> Values:
    return (_top(x_BM, y_BM, k) == y_BM.max(axis=1)).astype(float)


def _correlations(x_BM: Values, y_BM: Values) -> Values:
    x_BM, y_BM = x_BM - x_BM.mean(axis=1, keepdims=True), y_BM - y_BM.mean(axis=1, keepdims=True)
    return _divided((x_BM * y_BM).sum(axis=1), np.sqrt((x_BM**2).sum(axis=1) * (y_BM**2).sum(axis=1)))


def _taus(x_BM: Values, y_BM: Values) -> tuple[Values, Values]:
    """Weighted τ and τ-b of each row: scipy's, but for many rows at once, where a call for each would take seconds."""
    rows, models = x_BM.shape
    weighted, plain = [np.zeros(0)], [np.zeros(0)]
    start = 0
    for size in portions(rows, models * models):
        x_bM, y_bM = x_BM[start : start + size], y_BM[start : start + size]
        x_bMM, y_bMM = (np.sign(each[:, :, None] - each[:, None, :]) for each in (x_bM, y_bM))
        halves = []
        for first, second in ((x_bM, y_bM), (y_bM, x_bM)):
            # the lexicographically greatest has rank 0
            weight_bM = 1 / (1.0 + np.argsort(np.lexsort((-second, -first)), axis=1))
            halves.append(_tau(x_bMM, y_bMM, weight_bM[:, :, None] + weight_bM[:, None, :]))
        weighted.append(np.mean(halves, axis=0))
        plain.append(_tau(x_bMM, y_bMM, np.ones((1, 1, 1))))
        start += size
    return np.concatenate(weighted), np.concatenate(plain)


def _tau(x_bMM: Values, y_bMM: Values, weight_bMM: Values) -> Values:
    agreed, of_x, of_y = ((weight_bMM * pairs).sum(axis=(1, 2)) for pairs in (x_bMM * y_bMM, x_bMM**2, y_bMM**2))
    return _divided(agreed, np.sqrt(of_x * of_y))


def _divided(part: Values, whole: Values) -> Values:
    defined = whole > 0
    return np.where(defined, part / np.where(defined, whole, 1.0), np.nan)
