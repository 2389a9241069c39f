"""Barriers and criticality on losses whose shape is known."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.representation.barrier import barrier, mixed
from tlx.measure.representation.criticality import criticality, rewinding


def tree_of(value: float, size: int = 3) -> dict[str, Any]:
    return {"params": {"a": {"w": np.full(size, value, np.float32)}, "b": {"w": np.full(2, value, np.float32)}}}


def double_well(leaves: Any) -> tuple[float, float]:
    """Loss (w² - 1)², with minima at -1 and 1; accuracy falls with it."""
    w = float(np.mean(leaves["params"]["a"]["w"], dtype=np.float64))
    return 1.0 - min(1.0, (w * w - 1) ** 2), (w * w - 1) ** 2


def bowl(leaves: Any) -> tuple[float, float]:
    w = float(np.mean(leaves["params"]["a"]["w"], dtype=np.float64))
    return 1.0, w * w


def test_between_two_wells_there_is_a_wall() -> None:
    found = barrier(double_well, tree_of(-1.0), tree_of(1.0))
    assert found.loss == pytest.approx(1.0, abs=1e-6) and found.accuracy == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(found.alpha_P, np.linspace(0, 1, 11))
    np.testing.assert_allclose(found.loss_P, ((2 * found.alpha_P - 1) ** 2 - 1) ** 2, atol=1e-6)


def test_in_a_bowl_there_is_none() -> None:
    found = barrier(bowl, tree_of(-1.0), tree_of(2.0), points=21)
    assert found.loss == 0.0 and found.accuracy == 0.0 and len(found.alpha_P) == 21


def test_the_ends_may_differ() -> None:
    """Of a line with a step up in its middle only the part above the line between its ends counts."""
    losses = iter([0.0, *[2.0] * 10])
    found = barrier(lambda leaves: (0.5, next(losses)), tree_of(0.0), tree_of(1.0))
    assert found.loss == pytest.approx(2 - 0.1 * 2) and found.accuracy == 0.0


@settings(max_examples=20, deadline=None)
@given(a=st.floats(-3, 3, width=32), b=st.floats(-3, 3, width=32))
def test_it_is_symmetric_and_zero_for_identical_networks(a: float, b: float) -> None:
    one, other = (barrier(double_well, *pair) for pair in ((tree_of(a), tree_of(b)), (tree_of(b), tree_of(a))))
    assert one.loss == other.loss and one.accuracy == other.accuracy
    np.testing.assert_array_equal(one.loss_P, other.loss_P[::-1])
    same = barrier(double_well, tree_of(a), tree_of(a))
    assert same.loss == same.accuracy == 0.0 and len(set(same.loss_P)) == 1


def test_statistics_are_refreshed_at_every_point() -> None:
    seen: list[Any] = []

    def refreshed(leaves: Any) -> Any:
        seen.append(leaves)
        return tree_of(1.0)

    found = barrier(double_well, tree_of(-1.0), tree_of(1.0), refreshed=refreshed)
    assert len(seen) == 11 and found.loss == 0.0


def test_a_loss_that_is_not_a_number_is_no_barrier_of_zero() -> None:
    assert math.isnan(barrier(lambda leaves: (0.0, math.nan), tree_of(0.0), tree_of(1.0)).loss)


def test_few_points_and_other_trees_are_refused() -> None:
    with pytest.raises(ValueError, match="points: expected at least 11, got 10"):
        barrier(bowl, tree_of(0.0), tree_of(1.0), points=10)
    with pytest.raises(ValueError, match="other: expected the same leaves as those of the first network"):
        barrier(bowl, tree_of(0.0), tree_of(1.0, size=4))


def test_a_mixture_keeps_dtypes_and_counts() -> None:
    one, other = ({"w": np.ones(2, np.float32), "n": np.int32(count)} for count in (3, 8))
    other["w"] = other["w"] * np.float32(3)
    found = mixed(one, other, 0.25)
    assert found["w"].dtype == np.float32 and found["w"].tolist() == [1.5, 1.5] and found["n"] == 3
    assert mixed(one, other, 0.75)["n"] == 8


def two_modules(leaves: Any) -> tuple[float, float]:
    """Only module a matters; its optimum is 1."""
    w = np.asarray(leaves["params"]["a"]["w"], np.float64)
    loss = float(np.mean((w - 1) ** 2))
    return 1.0 - min(1.0, loss), loss


def test_putting_back_what_matters_loses_what_it_learned() -> None:
    found = rewinding(two_modules, tree_of(1.0), tree_of(0.0))
    assert found["a"].accuracy_drop == found["a"].loss_rise == 1.0 and found["a"].accuracy == 0.0
    assert found["b"].accuracy_drop == found["b"].loss_rise == 0.0 and found["b"].accuracy == 1.0


def test_chosen_modules_alone_are_put_back() -> None:
    assert [*rewinding(two_modules, tree_of(1.0), tree_of(0.0), ["b"])] == ["b"]
    with pytest.raises(ValueError, match="modules: there is no 'c'; there are a, b"):
        rewinding(two_modules, tree_of(1.0), tree_of(0.0), ["c"])
    with pytest.raises(ValueError, match=r"reference: 'params/a/w' has the shape \[4\], not \[3\]"):
        rewinding(two_modules, tree_of(1.0), tree_of(0.0, size=4))


def test_a_module_that_does_not_matter_is_not_critical() -> None:
    rng = np.random.default_rng(0)
    found = criticality(two_modules, tree_of(1.0, 50), tree_of(0.0, 50), 0.05, rng, sigmas=(0.1, 0.01))
    # Within ε = 0.05 are α = 0.8 with σ = 0.1, as 0.2² + 0.1² = 0.05 on average, or 0.9; ‖θF - θ0‖² is 50.
    assert found["a"] in (pytest.approx(0.64 * 50 / 0.01), pytest.approx(0.81 * 50 / 0.01))
    assert found["b"] == 0.0


def test_nothing_good_enough_is_infinitely_critical() -> None:
    found = criticality(lambda leaves: (0.0, 9.0), tree_of(1.0), tree_of(0.0), 0.1, np.random.default_rng(0), draws=1)
    assert found == {"a": math.inf, "b": math.inf}
