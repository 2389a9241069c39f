"""Which hyper-parameters a cell tries, and for how long: a function of the config and of the cell's own results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tlx.seeds import derive
from tlx.study.spec import HALVING, OPTUNA, RANGES, RATIOS, Entry, Search

# Of each coordinate of the points that are drawn: the first two are the hardest to come near with fractions, so points
# stay apart; the others are square roots of primes.
_STEPS = ((5**0.5 - 1) / 2, 2**0.5 - 1, 3**0.5 - 1, 7**0.5 - 2, 11**0.5 - 3, 13**0.5 - 3)
# Rates that are made, not given, are round numbers: the same on every machine, and as records show them.
_DIGITS = 6


@dataclass(frozen=True)
class Point:
    """The hyper-parameters that a search chooses.

    Args:
      learning_rate: peak of the schedule.
      weight_decay: decoupled.
      label_smoothing: 0 to 1.
      dropout: rate, None for the model's own.
      scale: factor on the adapters' effect.
      length: share of the unit's steps that are made.
    """

    learning_rate: float
    weight_decay: float
    label_smoothing: float = 0.0
    dropout: float | None = None
    scale: float = 1.0
    length: float = 1.0

    @property
    def order(self) -> tuple[float, ...]:
        """Of points that do equally well the one with the lowest values goes first."""
        own = (self.learning_rate, self.weight_decay, self.label_smoothing, self.dropout or 0.0)
        return (*own, self.scale, self.length)


@dataclass(frozen=True)
class Heat:
    """Trials that are trained to the same step before anything is decided.

    Args:
      points: of each cell.
      start: steps they have behind them; 0 for trials that are new.
      stop: steps they have done at its end.
    """

    points: int
    start: int
    stop: int


def unit_cube(count: int, seed: int) -> list[tuple[float, ...]]:
    """Evenly spread points of six coordinates in [0, 1); the first `n` are the same however many follow.

    Args:
      count: of points.
      seed: shifts all of them.

    Source:
      Weyl (1916), multiples of irrational numbers modulo 1: here first of the golden and the silver ratio, whose
      multiples stay farthest apart; shifted as by Cranley and Patterson (1976).
    """
    shifts = [derive(seed, f"search {axis}") / 2**31 for axis in range(len(_STEPS))]
    return [tuple((shift + k * step) % 1.0 for shift, step in zip(shifts, _STEPS, strict=True)) for k in range(count)]


def plain_point(entry: Entry, learning_rate: float) -> Point:
    """An entry's own hyper-parameters with one of its rates.

    Args:
      entry: names them.
      learning_rate: of its grid.
    """
    own = (entry.weight_decay, entry.label_smoothing, entry.dropout, entry.scale, entry.length)
    return Point(learning_rate, *own)


def first_points(search: Search, entry: Entry) -> tuple[Point, ...]:
    """What every cell of an entry tries without looking at any result; of a sampler, nothing.

    Args:
      search: how points are chosen.
      entry: names the rates, or the ranges; the same points of the unit cube are stretched over every entry's.

    Returns:
      Points in the order in which they are tried.
    """
    if search.kind == OPTUNA:
        return ()
    if not search.trials:
        return tuple(plain_point(entry, rate) for rate in entry.learning_rates)
    return tuple(_stretched(entry, at) for at in unit_cube(search.trials, search.seed))


def heats(search: Search, entry: Entry, steps: int) -> tuple[Heat, ...]:
    """How many trials of each cell are trained from where to where; known before the first of them.

    Args:
      search: how points are chosen.
      entry: names the rates.
      steps: of a whole run.

    Returns:
      Heats in their order.

    Source:
      Jamieson and Talwalkar (2016), algorithm 1, and Li et al. (2017) for `eta`: after a rung one in `eta` goes on,
      rounded down, and at least one. Ours goes on with a run, where theirs may begin it again.
    """
    points = search.trials or len(entry.learning_rates)
    if search.kind == OPTUNA:
        return (Heat(1, 0, steps),) * points
    if search.kind != HALVING:
        return (Heat(points, 0, steps), *(Heat(1, 0, steps) for _ in range(search.extend)))
    bounds = [0, *(steps // search.eta**left for left in range(search.rungs, 0, -1)), steps]
    counts = [max(points // search.eta**rung, 1) for rung in range(search.rungs + 1)]
    return tuple(map(Heat, counts, bounds[:-1], bounds[1:]))


def further(ranked: Sequence[Point]) -> Point:
    """One more point, where a cell's results point: past the edge if the best is there, else beside the best.

    Args:
      ranked: what was tried, two rates at least, the best first.

    Returns:
      As far past the edge as the best lies from its neighbour, or halfway to the better of its two neighbours, both
      in the logarithm of the rate.
    """
    best, rates = ranked[0], sorted({point.learning_rate for point in ranked})
    at = rates.index(best.learning_rate)
    around = rates[max(at - 1, 0) : at] + rates[at + 1 : at + 2]
    if len(around) == 1:
        rate = best.learning_rate / around[0] * best.learning_rate
    else:
        beside = next(point.learning_rate for point in ranked if point.learning_rate in around)
        rate = (best.learning_rate * beside) ** 0.5
    return replace(best, learning_rate=rounded(rate))


def edge(rates: Sequence[float], chosen: float) -> str | None:
    """Whether a chosen rate is the `low`est or the `high`est of several that were tried.

    Args:
      rates: all that were tried.
      chosen: one of them.
    """
    if min(rates) == max(rates):
        return None
    return {min(rates): "low", max(rates): "high"}.get(chosen)


def _stretched(entry: Entry, at: Sequence[float]) -> Point:
    """A point of the unit cube over an entry's ranges; a coordinate whose hyper-parameter has none is not used."""
    place = dict(zip(RANGES, at[1:], strict=True))
    drawn = {name: _between(place[name], ends, name in RATIOS) for name, ends in entry.ranges.items()}
    return replace(plain_point(entry, _between(at[0], entry.learning_rates, True)), **drawn)


def _between(u: float, ends: Sequence[float], is_ratio: bool) -> float:
    low, high = min(ends), max(ends)
    if low == high:
        return low
    return rounded(low * (high / low) ** u if is_ratio else low + (high - low) * u)


def rounded(value: float) -> float:
    """A number with as many digits as records show, so that it is the same on every machine."""
    return float(f"{value:.{_DIGITS}g}")
