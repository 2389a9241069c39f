import dataclasses

import numpy as np
import pytest
from scipy.stats import qmc

from tlx.optim import Optimizer
from tlx.study.search import Heat, Point, edge, first_points, further, heats, unit_cube
from tlx.study.spec import Entry, Search


def entry(*rates: float, decays: tuple[float, ...] = (), **more: tuple[float, ...]) -> Entry:
    return Entry("full", "transfer", "full", (), (), "auto", Optimizer(), 0.05, rates, weight_decays=decays, **more)


def test_drawn_points_are_these_forever() -> None:
    expected = [(0.7614128, 0.6896762), (0.3794468, 0.1038897), (0.9974808, 0.5181033), (0.6155147, 0.9323169)]
    assert [point[:2] for point in unit_cube(4, 0)] == [pytest.approx(point, abs=1e-7) for point in expected]
    assert unit_cube(9, 0)[:4] == unit_cube(4, 0)
    assert unit_cube(4, 1) != unit_cube(4, 0)


@pytest.mark.parametrize("count", [5, 8, 12, 32])
def test_drawn_points_are_spread_more_evenly_than_by_chance(count: int) -> None:
    chance = np.mean([qmc.discrepancy(np.random.default_rng(seed).random((count, 2))) for seed in range(20)])
    ours = [np.array(unit_cube(count, seed))[:, :2] for seed in range(20)]
    assert np.mean([qmc.discrepancy(points) for points in ours]) < 0.5 * chance
    for points in ours:
        gaps = np.diff(np.sort(points[:, 0]), append=np.sort(points[:, 0])[0] + 1.0)
        assert gaps.max() < 2.0 / count, "no rate is left out for long"


def test_arms_are_stretched_over_the_same_points() -> None:
    search = Search("random", trials=6, seed=3)
    square = unit_cube(6, 3)
    for low, high, decays in ((1e-4, 1e-2, ()), (1e-2, 1.0, (1e-3, 0.1))):
        points = first_points(search, entry(low, high, decays=decays))
        where = [np.log(point.learning_rate / low) / np.log(high / low) for point in points]
        np.testing.assert_allclose(where, [at[0] for at in square], atol=1e-5)
        if decays:
            where = [np.log(point.weight_decay / 1e-3) / np.log(100) for point in points]
            np.testing.assert_allclose(where, [at[1] for at in square], atol=1e-5)
        else:
            assert {point.weight_decay for point in points} == {0.05}
        assert len(set(points)) == 6


def test_every_range_has_a_coordinate_of_its_own() -> None:
    search, cube = Search("random", trials=5, seed=1), np.array(unit_cube(5, 1))
    ranges = {"label_smoothings": (0.0, 0.2), "dropouts": (0.1, 0.5), "scales": (0.5, 8.0), "lengths": (0.25, 1.0)}
    points = first_points(search, entry(1e-3, 1e-1, **ranges))
    np.testing.assert_allclose([point.label_smoothing for point in points], 0.2 * cube[:, 2], atol=1e-5)
    np.testing.assert_allclose([point.dropout for point in points], 0.1 + 0.4 * cube[:, 3], atol=1e-5)
    np.testing.assert_allclose([np.log2(point.scale) for point in points], 4 * cube[:, 4] - 1, atol=1e-4)
    np.testing.assert_allclose([np.log2(point.length) for point in points], 2 * cube[:, 5] - 2, atol=1e-4)
    alone = first_points(search, entry(1e-3, 1e-1, dropouts=(0.1, 0.5)))
    assert [point.dropout for point in alone] == [point.dropout for point in points]
    assert {(point.label_smoothing, point.scale) for point in alone} == {(0.0, 1.0)}


def test_a_grid_is_tried_as_it_stands() -> None:
    assert first_points(Search(), entry(1e-2, 1e-3)) == (Point(1e-2, 0.05), Point(1e-3, 0.05))
    assert heats(Search(), entry(1e-2, 1e-3), 20) == (Heat(2, 0, 20),)
    assert heats(Search(extend=2), entry(1e-2, 1e-3), 20) == (Heat(2, 0, 20), Heat(1, 0, 20), Heat(1, 0, 20))


def test_halving_keeps_one_in_eta_for_eta_times_as_long() -> None:
    search = Search("halving", trials=27, rungs=3, eta=3)
    made = heats(search, entry(1e-3, 1.0), 81)
    assert made == (Heat(27, 0, 3), Heat(9, 3, 9), Heat(3, 9, 27), Heat(1, 27, 81))
    assert sum(heat.points * (heat.stop - heat.start) for heat in made) == 81 + 54 + 54 + 54
    few = dataclasses.replace(search, trials=0, rungs=3, eta=2)
    assert heats(few, entry(1e-3, 1e-2, 1e-1), 20) == (Heat(3, 0, 2), Heat(1, 2, 5), Heat(1, 5, 10), Heat(1, 10, 20))


@pytest.mark.parametrize(
    ("ranked", "rate"),
    [
        ((0.1, 0.01, 0.001), 1.0),
        ((0.001, 0.01, 0.1), 0.0001),
        ((0.01, 0.1, 0.001), 0.0316228),
        ((0.01, 0.001, 0.1), 0.00316228),
        ((0.003, 0.001), 0.009),
        # Past the edge by the last step of the grid, not the first.
        ((0.1, 0.001, 0.05), 0.2),
    ],
)
def test_one_more_rate_goes_past_the_edge_or_beside_the_best(ranked: tuple[float, ...], rate: float) -> None:
    assert further([Point(each, 0.05) for each in ranked]) == Point(rate, 0.05)


def test_edges() -> None:
    rates = (1e-2, 1e-3, 1e-1)
    assert [edge(rates, rate) for rate in rates] == [None, "low", "high"]
    assert edge((1e-2,), 1e-2) is None


def test_only_what_matters_is_part_of_what_a_cell_is() -> None:
    assert Search(seed=4, rungs=5, eta=2).identity() == {}
    assert Search(extend=2).identity() == {"kind": "grid", "extend": 2}
    assert Search("random", trials=8).identity() == {"kind": "random", "trials": 8}
    assert Search("random", trials=8, seed=1).identity() == {"kind": "random", "trials": 8, "seed": 1}
    assert Search("halving", seed=1).identity() == {"kind": "halving", "rungs": 2, "eta": 3}
