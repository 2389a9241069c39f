"""Numbers of which only a bound may be known, and their intervals over seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tlx.measure.stats import ENOUGH, FEWEST

Weights = NDArray[np.float64]
Side = Literal["=", "<", ">", "?"]

_FLIPPED: dict[Side, Side] = {"=": "=", "<": ">", ">": "<", "?": "?"}

RESAMPLES = 2000


@dataclass(frozen=True)
class Bound:
    """A number, or what is known of it.

    Args:
      value: the number, or the bound; NaN where nothing is known.
      side: `=` if the value is the number, `>` if the number lies above it (right-censored), `<` if it lies below
        (left-censored), `?` if nothing is known.

    >>> Bound(43.71).text, Bound(160.0, ">").text, Bound(2.0, "<").text, UNKNOWN.text
    ('43.7', '> 160', '< 2', '–')
    """

    value: float
    side: Side = "="

    @property
    def text(self) -> str:
        """The number with the sign that a censored one needs."""
        if self.side == "?":
            return "–"
        return _number(self.value) if self.side == "=" else f"{self.side} {_number(self.value)}"

    @property
    def least(self) -> float:
        """The number cannot be smaller than this."""
        return self.value if self.side in ("=", ">") else -math.inf

    @property
    def most(self) -> float:
        """The number cannot be larger than this."""
        return self.value if self.side in ("=", "<") else math.inf

    def minus(self, number: float) -> "Bound":
        """The difference from a number that is known."""
        return replace(self, value=self.value - number)

    def times(self, factor: float) -> "Bound":
        """The product with a positive number that is known.

        Raises:
          ValueError: if the factor is not positive.
        """
        if not factor > 0:
            raise ValueError(f"factor: expected a positive number, got {factor!r}")
        return replace(self, value=self.value * factor)


UNKNOWN = Bound(math.nan, "?")


def quotient(above: Bound, below: Bound) -> Bound:
    """What is known of the quotient of two numbers that are not negative.

    Args:
      above: the dividend.
      below: the divisor; by zero, the quotient is infinite.

    Returns:
      Their quotient: unknown where both are censored on the same side, or 0 / 0.

    >>> quotient(Bound(800.0, ">"), Bound(100.0)).text, quotient(Bound(100.0), Bound(800.0, ">")).text
    ('> 8', '< 0.125')
    >>> quotient(Bound(800.0, ">"), Bound(800.0, ">")).text
    '–'
    """
    known: set[Side] = {above.side, _FLIPPED[below.side]} - {"="}
    if "?" in known or len(known) > 1 or (below.value == 0 and (above.value == 0 or known)):
        return UNKNOWN
    value = math.inf if below.value == 0 else above.value / below.value
    return Bound(value, known.pop() if known else "=")


def difference(first: Bound, second: Bound) -> Bound:
    """What is known of the difference of two numbers.

    Args:
      first: of this,
      second: this is taken away.

    Returns:
      Their difference: unknown where both are censored on the same side.

    >>> difference(Bound(800.0, ">"), Bound(100.0)).text, difference(Bound(100.0), Bound(800.0, ">")).text
    ('> 700', '< -700')
    """
    known: set[Side] = {first.side, _FLIPPED[second.side]} - {"="}
    if "?" in known or len(known) > 1:
        return UNKNOWN
    return Bound(first.value - second.value, known.pop() if known else "=")


@dataclass(frozen=True)
class Bounds:
    """Many numbers, or what is known of each.

    Args:
      value_R: (draws,) numbers or bounds; NaN where nothing is known.
      least_R: (draws,) what the numbers are at least.
      most_R: (draws,) what they are at most.
    """

    value_R: NDArray[np.float64]
    least_R: NDArray[np.float64]
    most_R: NDArray[np.float64]

    @staticmethod
    def of(bounds: Sequence[Bound]) -> "Bounds":
        """The same of some single ones."""
        ends = [(bound.value, bound.least, bound.most) for bound in bounds]
        return Bounds(*np.array(ends, np.float64).reshape(-1, 3).T)

    def __getitem__(self, place: int) -> Bound:
        """One of them."""
        value, least, most = (float(part[place]) for part in (self.value_R, self.least_R, self.most_R))
        if math.isnan(value):
            return UNKNOWN
        return Bound(value, "=" if least == most else ">" if least == value else "<")


@dataclass(frozen=True)
class BoundInterval:
    """A number that may be censored, and its interval, whose ends may be censored too.

    Args:
      estimate: of all seeds.
      low: lower end; None if there is no interval.
      high: upper end; None if there is no interval.
      n: number of seeds.
    """

    estimate: Bound
    low: Bound | None
    high: Bound | None
    n: int

    @property
    def text(self) -> str:
        """Estimate and interval, e.g. `43.7 [30, > 160]`; what all seeds agree on stands alone."""
        if self.low is None or self.high is None or self.low.text == self.high.text == self.estimate.text:
            return self.estimate.text
        return f"{self.estimate.text} [{self.low.text}, {self.high.text}]"

    def minus(self, number: float) -> "BoundInterval":
        """The same of the difference from a number that is known."""
        return self._each(lambda bound: bound.minus(number))

    def times(self, factor: float) -> "BoundInterval":
        """The same of the product with a positive number that is known."""
        return self._each(lambda bound: bound.times(factor))

    def _each(self, change: Callable[[Bound], Bound]) -> "BoundInterval":
        low = change(self.low) if self.low else None
        return BoundInterval(change(self.estimate), low, change(self.high) if self.high else None, self.n)


def seed_interval(
    statistic: Callable[[Weights], Bounds],
    seeds: int,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> BoundInterval:
    """The interval over seeds of a statistic of their means that may come out censored.

    From 10 seeds on it is the bootstrap's, from 3 to 9 means are drawn as Student's distribution has them: were the
    statistic a mean, it would be Student's interval. The ends are order statistics of the drawn values, so no distance
    between censored values is ever needed: the lower end is a quantile of what the values are at least, the upper end
    one of what they are at most.

    Args:
      statistic: of weighted means over seeds: of weights (draws, seeds), with a mean of 1 over seeds and maybe
        negative, makes one value for each draw.
      seeds: number of them; below three there is no interval.
      rng: decides the draws; None for the same ones every time.
      level: coverage, 0 to 1.
      resamples: number of draws.

    Returns:
      The estimate from equal weights, and its interval.

    Raises:
      ValueError: if there is no seed.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife", with the wider quantiles of Hesterberg 2015,
    "What teachers should know about the bootstrap"; Box and Tiao 1973, "Bayesian inference in statistical analysis"
    (means that are jointly Student's). Ours carries censored values through.

    >>> values = np.array([1.0, 2.0, 3.0])
    >>> seed_interval(lambda weight_RS: Bounds.of([Bound(mean) for mean in weight_RS @ values / 3]), 3).text
    '2 [-0.517, 4.52]'
    >>> seed_interval(lambda weight_RS: Bounds.of([Bound(8.0, ">")] * len(weight_RS)), 3).text
    '> 8'
    """
    if seeds < 1:
        raise ValueError("seeds: expected at least one")
    estimate = statistic(np.ones((1, seeds)))[0]
    if seeds < FEWEST:
        return BoundInterval(estimate, None, None, seeds)
    generator = rng or np.random.default_rng(0)
    outside = (1 - level) / 2
    if seeds < ENOUGH:
        weight_RS = _student(seeds, generator, resamples)
    else:
        weight_RS = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).astype(np.float64)
        width = math.sqrt(seeds / (seeds - 1)) * stats.t.ppf((1 + level) / 2, seeds - 1)
        outside = float(stats.norm.sf(width))
    drawn = statistic(weight_RS)
    low = drawn[_place(drawn.least_R, drawn.value_R, outside)]
    high = drawn[_place(drawn.most_R, drawn.value_R, 1 - outside)]
    return BoundInterval(estimate, low, high, seeds)


def _student(seeds: int, rng: np.random.Generator, resamples: int) -> Weights:
    """Weights of seeds with which weighted means are distributed as Student's, around the means of the sample."""
    half = -(-resamples // 2)
    normal_HS = rng.normal(size=(half, seeds))
    normal_HS -= normal_HS.mean(axis=1, keepdims=True)  # weights keep a mean of 1
    # Evenly spread, not drawn, and each with both signs: the tails of so few degrees of freedom are heavy.
    spread_H = stats.chi2.ppf((np.arange(half) + 0.5) / half, seeds - 1) / (seeds - 1)
    shift_HS = math.sqrt(seeds / (seeds - 1)) * normal_HS / np.sqrt(spread_H)[:, None]
    return np.concatenate([1 + shift_HS, 1 - shift_HS])


def _place(end_R: NDArray[np.float64], value_R: NDArray[np.float64], share: float) -> int:
    """Which draw is the order statistic of these ends; among equal ones, values decide."""
    order = np.lexsort((np.nan_to_num(value_R), end_R))
    return int(order[min(max(math.ceil(share * len(order)) - 1, 0), len(order) - 1)])


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "0" if text == "-0" else text
