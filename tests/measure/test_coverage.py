"""Intervals that say 95 %: how often they hold the truth. Seeds are fixed, so that the counts are, too."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from scipy import stats

from tlx.measure.improvement import improvement_interval, win_share
from tlx.measure.iqm import interquartile_mean, iqm_interval
from tlx.measure.ranking import rank_scores
from tlx.measure.resampling import nested_bootstrap_interval, nested_interval
from tlx.measure.stats import Interval, bootstrap_interval, interval, widened
from tlx.measure.variance import deviation_interval

RNG = np.random.default_rng
SKEWED = {
    "chi2": (lambda rng, size: rng.chisquare(4, size), 4.0),
    "lognormal": (lambda rng, size: rng.lognormal(0, 0.5, size), math.exp(0.125)),
    "exponential": (lambda rng, size: rng.exponential(1, size), 1.0),
}
SHAPES = {"normal": (lambda rng, size: rng.normal(0, 1, size), 0.0), **SKEWED}


def coverage(found: Iterable[Interval], truth: float) -> float:
    return float(np.mean([one.low <= truth + 1e-12 and truth - 1e-12 <= one.high for one in found]))


def of_means(shape: str, n: int, samples: int, resamples: int = 999) -> float:
    """Of `interval`, with fewer resamples than it takes itself."""
    rng = RNG(n)
    draw, truth = SHAPES[shape]
    values = draw(rng, (samples, n))
    if n < 10:
        return coverage(map(interval, values), truth)
    return coverage((bootstrap_interval(one, rng, widened(0.95, n), resamples) for one in values), truth)


def of_iqm(shape: str, runs: int, tasks: int, samples: int, resamples: int) -> float:
    rng = RNG(runs)
    draw = SHAPES[shape][0]
    level = np.linspace(0, 3, tasks)[:, None]
    truth = interquartile_mean(list(level + draw(rng, (tasks, 200_000))))
    made = (level + draw(rng, (tasks, runs)) for _ in range(samples))
    return coverage((iqm_interval(list(one), rng, resamples=resamples) for one in made), truth)


def of_improvement(shift: float, runs: int, tasks: int, samples: int) -> float:
    rng = RNG(runs)
    truth = float(stats.norm.cdf(shift / math.sqrt(2)))
    made = ((rng.normal(shift, 1, (tasks, runs)), rng.normal(0, 1, (tasks, runs))) for _ in range(samples))
    return coverage((improvement_interval(list(x), list(y)) for x, y in made), truth)


def of_sources(between: float, sources: int, samples: int, find: Callable[..., Interval] = nested_interval) -> float:
    rng = RNG(sources)
    made = (rng.normal(0, between, (sources, 1)) + rng.normal(size=(sources, 5)) for _ in range(samples))
    return coverage((find(list(one)) for one in made), 0.0)


def test_small_simulations() -> None:
    assert of_means("normal", 4, 400) == pytest.approx(0.95, abs=0.03)
    assert of_means("normal", 10, 250, 399) == pytest.approx(0.95, abs=0.04)
    assert of_iqm("normal", 5, 4, 200, 199) == pytest.approx(0.95, abs=0.04)
    assert of_improvement(0.95387, 5, 3, 200) == pytest.approx(0.95, abs=0.04)
    assert of_sources(1.0, 4, 300) == pytest.approx(0.95, abs=0.03)


def test_of_a_deviation() -> None:
    values = RNG(0).normal(0, 2, (500, 5))
    assert np.mean([low <= 2 <= high for low, high in map(deviation_interval, values)]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("n", [5, 6, 8, 10, 15, 20, 29])
@pytest.mark.parametrize("share", [0.5, 0.75, 0.9])
def test_of_a_share_of_pairs(n: int, share: float) -> None:
    # exactly, as the number of wins is binomial
    won = np.arange(n + 1)
    held = [one.low <= share <= one.high for one in (win_share(np.arange(n) < wins, np.full(n, 0.5)) for wins in won)]
    assert (0.915 if n < 10 else 0.925) <= stats.binom.pmf(won, n, share) @ held <= 0.985


@pytest.mark.thorough
@pytest.mark.parametrize("n", [3, 5, 9, 10, 15, 30])
def test_of_means_of_normal_values(n: int) -> None:
    assert 0.93 <= of_means("normal", n, 2000) <= 0.97


@pytest.mark.thorough
@pytest.mark.parametrize("n", [15, 30])
@pytest.mark.parametrize("shape", SKEWED)
def test_of_means_of_skewed_values(shape: str, n: int) -> None:
    assert 0.93 <= of_means(shape, n, 2000) <= 0.97


@pytest.mark.thorough
@pytest.mark.parametrize(("shape", "least"), [("chi2", 0.90), ("lognormal", 0.90), ("exponential", 0.87)])
def test_few_skewed_values_are_covered_less(shape: str, least: float) -> None:
    for n in (3, 5, 9):
        assert least <= of_means(shape, n, 4000) <= 0.94


@pytest.mark.thorough
@pytest.mark.parametrize("shape", ["normal", "lognormal"])
@pytest.mark.parametrize(("runs", "tasks"), [(5, 4), (5, 10), (10, 4)])
def test_of_the_interquartile_mean(shape: str, runs: int, tasks: int) -> None:
    assert 0.92 <= of_iqm(shape, runs, tasks, 2000, 999) <= 0.97


@pytest.mark.thorough
@pytest.mark.parametrize("shift", [0.0, 0.95387, 1.8124])
@pytest.mark.parametrize(("runs", "tasks"), [(5, 1), (10, 1), (29, 1), (3, 5), (10, 5)])
def test_of_the_probability_of_improvement(shift: float, runs: int, tasks: int) -> None:
    assert 0.925 <= of_improvement(shift, runs, tasks, 2000) <= 0.98


@pytest.mark.thorough
@pytest.mark.parametrize("between", [3.0, 1.0, 0.0])
def test_of_gains_nested_in_sources(between: float) -> None:
    for sources in (3, 5, 9):
        assert 0.93 <= of_sources(between, sources, 2000) <= 0.97

    def wide(gains: list[np.ndarray]) -> Interval:
        return nested_bootstrap_interval(gains, RNG(0), widened(0.95, 10), 999)

    assert 0.93 <= of_sources(between, 10, 1000, wide) <= {3.0: 0.97, 1.0: 0.985, 0.0: 1.0}[between]


@pytest.mark.thorough
@pytest.mark.parametrize(("models", "rho"), [(8, 0.5), (20, 0.8)])
def test_of_correlations(models: int, rho: float) -> None:
    rng, root = RNG(models), np.linalg.cholesky([[1, rho], [rho, 1]])
    found = [rank_scores(*(root @ rng.normal(size=(2, models))), rng, resamples=499) for _ in range(500)]
    assert 0.92 <= coverage((one.pearson for one in found), rho) <= 0.98
    assert 0.92 <= coverage((one.spearman for one in found), 6 / math.pi * math.asin(rho / 2)) <= 0.98
    assert 0.92 <= coverage((one.kendall for one in found), 2 / math.pi * math.asin(rho)) <= 0.98
