"""How many seeds a wanted precision or power takes."""

import math

from scipy import stats


def seeds_for_width(deviation: float, half_width: float, level: float = 0.95) -> int:
    """The least number of seeds whose Student's interval is as narrow as wanted: `t_{n-1} s / sqrt(n) ≤ h`.

    It is what is to be expected of seeds that scatter by exactly `deviation`; a deviation that was itself measured
    on a handful of seeds is known poorly, see `variance.deviation_interval`.

    Args:
      deviation: standard deviation s of the gains over seeds, at least 0.
      half_width: h, half the length of the interval, in the same unit, above 0.
      level: coverage, 0 to 1.

    Returns:
      At least 2.

    Raises:
      ValueError: if the deviation is negative or the half-width not positive, or one is not finite.

    Source: Student's interval, solved for n by iteration, as t depends on n.

    >>> seeds_for_width(0.03, 0.01), seeds_for_width(0.0, 0.01)
    (38, 2)
    """
    _check(deviation, half_width, "half_width")
    ratio = deviation / half_width
    # t is wider than a normal, so that this many are too few, if not by many.
    seeds = max(2, math.floor((float(stats.norm.ppf((1 + level) / 2)) * ratio) ** 2))
    while float(stats.t.ppf((1 + level) / 2, seeds - 1)) * ratio > math.sqrt(seeds):
        seeds += 1
    return seeds


def seeds_for_power(deviation: float, effect: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """The least number of paired seeds at which a t test finds a true mean gain as often as wanted.

    Args:
      deviation: standard deviation of the gains over seeds, at least 0.
      effect: the true mean gain that is not to be missed, in the same unit, above 0.
      alpha: two-sided level of the test, 0 to 1.
      power: the chance to find it, 0 to 1.

    Returns:
      At least 2.

    Raises:
      ValueError: if the deviation is negative or the effect not positive, or one is not finite.

    Source: Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", chapter 2; by the noncentral t.

    >>> seeds_for_power(1.0, 0.5), seeds_for_power(1.0, 0.8)
    (34, 15)
    """
    _check(deviation, effect, "effect")
    if deviation == 0:
        return 2
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    seeds = max(2, math.floor((z * deviation / effect) ** 2))
    while _power(seeds, effect / deviation, alpha) < power:
        seeds += 1
    return seeds


def _power(seeds: int, size: float, alpha: float) -> float:
    critical = float(stats.t.ppf(1 - alpha / 2, seeds - 1))
    shift = size * math.sqrt(seeds)
    return float(stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift))


def _check(deviation: float, wanted: float, name: str) -> None:
    if not (math.isfinite(deviation) and deviation >= 0):
        raise ValueError(f"deviation: expected a finite number from 0, got {deviation}")
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"{name}: expected a finite number above 0, got {wanted}")
