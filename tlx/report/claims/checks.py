"""How a claim is decided: each check compares a few numbers of a study with a bound."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tlx.errors import ConfigError
from tlx.measure.stats import Interval
from tlx.report.claims.results import DivergedError, NotHereError, Place, Results


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
      held: whether the claim is borne out.
      measured: the numbers, with their intervals.
      bound: what they were held against.
    """

    held: bool
    measured: str
    bound: str


class Places(tuple[Place, ...]):
    """Several places, in the order a claim names them."""


def gain_at_least(results: Results, place: Place, points: float) -> Finding:
    """The mean gain reaches a number of points."""
    return Finding(_points(results.gain(place).mean) >= points, results.say_gain(place), f"at least {points:+.1f}")


def gain_at_most(results: Results, place: Place, points: float) -> Finding:
    """The mean gain does not exceed a number of points."""
    return Finding(_points(results.gain(place).mean) <= points, results.say_gain(place), f"at most {points:+.1f}")


def gain_above_zero(results: Results, place: Place) -> Finding:
    """The interval of the gain lies above 0."""
    return Finding(_with_ends(results, place).above_zero, results.say_gain(place), "interval above 0")


def gain_below_zero(results: Results, place: Place) -> Finding:
    """The interval of the gain lies below 0."""
    return Finding(_with_ends(results, place).below_zero, results.say_gain(place), "interval below 0")


def gain_shrinks(results: Results, few: Place, many: Place, points: float) -> Finding:
    """The mean gain is smaller with many labels than with few, by a number of points."""
    less = _points(results.gain(few).mean - results.gain(many).mean)
    measured = f"{results.say_gain(few)}; {results.say_gain(many)}"
    return Finding(less >= points, measured, f"at least {points:.1f} less")


def gain_falls(results: Results, places: Places, points: float) -> Finding:
    """The mean gain falls from each place to the next, by a number of points."""
    means = [_points(results.gain(place).mean) for place in _several(places)]
    measured = "; ".join(map(results.say_gain, places))
    return Finding(_falls(means, points), measured, f"each at least {points:.1f} less than the one before")


def gain_share_at_most(results: Results, places: Places, share: float) -> Finding:
    """The mean gain in the last place is at most a share of that in the first, which is above 0."""
    first, last = (_points(results.gain(place).mean) for place in (_several(places)[0], places[-1]))
    measured = f"{results.say_gain(places[0])}; {results.say_gain(places[-1])}"
    return Finding(first > 0 and last <= share * first, measured, f"at most {share:g} of it")


def accuracy_between(results: Results, place: Place, low: float, high: float) -> Finding:
    """The mean test accuracy lies in a range, in percent."""
    held = low <= _points(results.row(place).score.mean) <= high
    return Finding(held, results.say_score(place), f"{low:.1f} to {high:.1f} %")


def accuracy_falls(results: Results, places: Places, points: float) -> Finding:
    """The mean test accuracy falls from each place to the next, by a number of points."""
    means = [_points(results.row(place).score.mean) for place in _several(places)]
    measured = "; ".join(map(results.say_score, places))
    return Finding(_falls(means, points), measured, f"each at least {points:.1f} points less than the one before")


def more_accurate(results: Results, place: Place, than: Place, points: float) -> Finding:
    """One place's mean test accuracy is above another's, by a number of points."""
    ahead = _points(results.row(place).score.mean - results.row(than).score.mean)
    measured = f"{results.say_score(place)}; {results.say_score(than)}"
    return Finding(ahead >= points, measured, f"at least {points:.1f} points more")


def ahead_by_seed(results: Results, places: Places, than: Places, points: float, seeds: int) -> Finding:
    """The mean over places of what each is ahead of its partner reaches a number of points, and is above 0 in as many
    seeds; partners are paired by seed, and one partner can stand for all.
    """
    partners = list(than) * (len(places) if len(than) == 1 else 1)
    if len(partners) != len(places):
        raise ConfigError("than", f"expected 1 or {len(places)} places, got {len(than)}")
    pairs = [(results.by_seed(ours), results.by_seed(theirs)) for ours, theirs in zip(places, partners, strict=True)]
    expected = min(results.row(place).seeds_expected for place in (*places, *than))
    if expected < seeds:
        raise NotHereError(f"the claim is about {seeds} seeds, the study has {expected}")
    common = sorted(set.intersection(*(set(side) for pair in pairs for side in pair)))
    if not common:
        raise DivergedError("no seed finished in all of the places")
    ahead = [_points(sum(ours[seed] - theirs[seed] for ours, theirs in pairs) / len(pairs)) for seed in common]
    mean, above = sum(ahead) / len(ahead), sum(one > 0 for one in ahead)
    said = f"mean {mean:+.1f} points, {above} of {len(common)} seeds above 0"
    return Finding(
        round(mean, 6) >= points and above >= seeds, said, f"at least {points:+.1f}, and {seeds} seeds above 0"
    )


def _several(places: Places) -> Places:
    if len(places) < 2:
        raise ConfigError("places", f"expected at least 2, got {len(places)}")
    return places


def _falls(means: Sequence[float], points: float) -> bool:
    return all(round(before - after, 6) >= points for before, after in itertools.pairwise(means))


def _with_ends(results: Results, place: Place) -> Interval:
    found = results.gain(place)
    if found.kind == "none":
        raise NotHereError(f"{place.name}: {found.n} seeds have no interval")
    return found


def _points(share: float) -> float:
    """A share in percent, without the last bits: what equals its bound on paper meets it."""
    return round(100 * share, 6)


Check = Callable[..., Finding]
CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        gain_at_least,
        gain_at_most,
        gain_above_zero,
        gain_below_zero,
        gain_shrinks,
        gain_falls,
        gain_share_at_most,
        accuracy_between,
        accuracy_falls,
        more_accurate,
        ahead_by_seed,
    )
}
