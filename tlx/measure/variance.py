"""Where the scatter of runs comes from: the subset, the initial weights, the order of the batches."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tlx.measure.samples import finite

REST = "rest"


@dataclass(frozen=True)
class Component:
    """What one source of chance adds to the variance of a run.

    Args:
      factors: names of what varies; several for their interaction, the last component being `rest`.
      variance: estimated without bias, and so below 0 at times where there is little or none.
      share: of the sum of all components, those below 0 counted as 0; NaN if none is above.
    """

    factors: tuple[str, ...]
    variance: float
    share: float


def variance_components(scores: ArrayLike, factors: Sequence[str]) -> list[Component]:
    """Split the variance of runs whose seeds were crossed: every seed of one purpose with every seed of the others.

    The model is one of crossed random effects, estimated by the method of moments: the mean square of each effect
    is set equal to what it is expected to be. The interaction of all factors cannot be told from what is left
    over, as each combination was run once; together they are `rest`. For runs that were repeated, give the
    repetition as a further factor: what involves it is noise.

    Args:
      scores: finite, one axis for each factor, at least 2 seeds along each.
      factors: names of the axes, such as `("subset", "init", "order")`.

    Returns:
      Main effects, interactions of two factors, and so on; `rest` last.

    Raises:
      ValueError: if a score is not finite, an axis has one seed, or factors and axes differ in number.

    Source: Searle, Casella and McCulloch 1992, "Variance Components", chapter 4 (ANOVA estimators); the question
    after Bouthillier et al. 2021.

    >>> subset, init, rest = variance_components([[1.0, 2.0], [4.0, 5.0]], ("subset", "init"))
    >>> subset.variance, init.variance, rest.variance, subset.share
    (4.5, 0.5, 0.0, 0.9)
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != len(factors) or not factors or min(values.shape, default=0) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"scores: expected finite values with an axis of 2 or more for each of {len(factors)} factors, "
            f"got shape {values.shape}"
        )
    axes = range(values.ndim)
    effects = [effect for size in axes for effect in itertools.combinations(axes, size + 1)]
    variances: dict[tuple[int, ...], float] = {}
    for effect in reversed(effects):
        others = [values.shape[axis] for axis in axes if axis not in effect]
        # E[mean square] = sum over the effects that hold this one of (seeds along the axes outside them) x variance
        above = sum(
            float(np.prod([values.shape[axis] for axis in axes if axis not in larger])) * variance
            for larger, variance in variances.items()
            if set(larger) > set(effect)
        )
        variances[effect] = (_mean_square(values, effect) - above) / float(np.prod(others))
    total = sum(max(0.0, variance) for variance in variances.values())
    return [
        Component(
            (REST,) if len(effect) == values.ndim else tuple(factors[axis] for axis in effect),
            variances[effect],
            max(0.0, variances[effect]) / total if total > 0 else float("nan"),
        )
        for effect in effects
    ]


def nested_components(groups: Sequence[ArrayLike]) -> tuple[float, float]:
    """Split the variance of runs within groups, such as seeds within source checkpoints.

    Args:
      groups: for each group its runs' scores, finite, at least one each and two in one of them; two groups or more.

    Returns:
      The variance between groups, below 0 at times where they differ little, and that within them.

    Raises:
      ValueError: if a score is not finite, there are fewer than two groups, or none has two runs.

    Source: Searle, Casella and McCulloch 1992, section 3.6 (one-way random model, unequal numbers).

    >>> nested_components([[1.0, 3.0], [5.0, 7.0]])
    (7.0, 2.0)
    """
    runs = [finite(group, 1, f"groups[{place}]") for place, group in enumerate(groups)]
    sizes = np.array([group.size for group in runs])
    total = int(sizes.sum())
    if len(runs) < 2 or total <= len(runs):
        raise ValueError(f"groups: expected two or more, one of them with two runs, got sizes {sizes.tolist()}")
    grand = np.concatenate(runs).mean()
    within = float(sum(((group - group.mean()) ** 2).sum() for group in runs)) / (total - len(runs))
    between = float(sum(group.size * (group.mean() - grand) ** 2 for group in runs)) / (len(runs) - 1)
    typical = (total - (sizes**2).sum() / total) / (len(runs) - 1)
    return (between - within) / float(typical), within


def deviation_interval(x: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The interval of the standard deviation of normal values; five seeds leave it open by a factor of nearly 5.

    Args:
      x: (n,) finite values, n ≥ 2.
      level: coverage, 0 to 1.

    Returns:
      Lower and upper end.

    Raises:
      ValueError: if a value is not finite or there are fewer than two.

    Source: textbook; `(n - 1) s² / σ²` is chi-squared with n - 1 degrees of freedom.

    >>> low, high = deviation_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> round(low, 3), round(high, 3)
    (0.947, 4.543)
    """
    values = finite(x, 2)
    freedom = values.size - 1
    squares = freedom * float(values.var(ddof=1))
    low, high = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], freedom)
    return float(np.sqrt(squares / low)), float(np.sqrt(squares / high))


def _mean_square(values: np.ndarray, effect: tuple[int, ...]) -> float:
    """The effect's sum of squares over its degrees of freedom."""
    axes = range(values.ndim)
    deviation = np.zeros([values.shape[axis] if axis in effect else 1 for axis in axes])
    for size in range(len(effect) + 1):
        for kept in itertools.combinations(effect, size):
            mean = values.mean(axis=tuple(axis for axis in axes if axis not in kept), keepdims=True)
            deviation = deviation + (-1) ** (len(effect) - size) * mean
    repeats = float(np.prod([values.shape[axis] for axis in axes if axis not in effect]))
    freedom = float(np.prod([values.shape[axis] - 1 for axis in effect]))
    return repeats * float((deviation**2).sum()) / freedom
