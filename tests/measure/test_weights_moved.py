"""Distances, cosines, gradient profiles and feature distortion, by hand."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.representation.distance import Drift, update_cosine, weight_distance
from tlx.measure.representation.distortion import Distortion, feature_distortion
from tlx.measure.representation.layers import by_layer, trunk_layer
from tlx.measure.representation.rgn import gradient_profile


def net(seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {
        "stem": {"kernel": (3, 4), "bias": (4,)},
        "block_0": {"mlp": {"kernel": (4, 4)}},
        "head": {"kernel": (4, 2)},
    }

    def made(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: made(part) for name, part in node.items()}
        return (scale * rng.normal(size=node)).astype(np.float32)

    return {"params": made(shapes), "batch_stats": {"stem": {"mean": np.ones(4, np.float32)}}}


def test_heads_and_running_statistics_do_not_count() -> None:
    assert sorted(by_layer(net())) == ["block_0", "stem"]
    assert sorted(by_layer(net())["stem"]) == ["params/stem/bias", "params/stem/kernel"]
    assert trunk_layer("params/pool/norm/scale") == "pool" and trunk_layer("params/bias") is None


def test_distance_by_hand() -> None:
    one, other = net(0), net(1)
    a, b = one["params"]["stem"], other["params"]["stem"]
    moved = math.sqrt(sum(float(np.sum((np.float64(b[k]) - a[k]) ** 2)) for k in a))
    length = math.sqrt(sum(float(np.sum(np.float64(a[k]) ** 2)) for k in a))
    found = weight_distance(one, other)
    assert found["stem"].l2 == pytest.approx(moved, rel=1e-12)
    assert found["stem"].relative == pytest.approx(moved / length, rel=1e-12)
    assert weight_distance(one, one)["stem"] == Drift(0.0, 0.0)


def test_the_layers_can_be_others() -> None:
    whole = weight_distance(net(0), net(1), lambda path: "all" if path.startswith("params/") else None)
    parts = weight_distance(net(0), net(1), lambda path: path if path.startswith("params/") else None)
    assert [*whole] == ["all"] and len(parts) == 4
    assert whole["all"].l2 ** 2 == pytest.approx(sum(part.l2**2 for part in parts.values()))


def test_what_was_zero_has_no_relative_distance() -> None:
    zero = {"params": {"a": {"w": np.zeros(2)}}}
    found = weight_distance(zero, {"params": {"a": {"w": np.ones(2)}}})["a"]
    assert found.l2 == pytest.approx(math.sqrt(2)) and math.isnan(found.relative)
    assert math.isnan(gradient_profile(zero, zero)["a"])


def test_trees_that_differ_are_refused() -> None:
    other = net(1)
    del other["params"]["stem"]["bias"]
    with pytest.raises(ValueError, match="after: has no leaf 'params/stem/bias'"):
        weight_distance(net(), other)
    with pytest.raises(ValueError, match="before: has no leaf 'params/stem/bias'"):
        weight_distance(other, net())
    other = net(1)
    other["params"]["stem"]["bias"] = np.zeros(5)
    with pytest.raises(ValueError, match=r"gradients: 'params/stem/bias' has the shape \[5\], not \[4\]"):
        gradient_profile(net(), other)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10))
def test_cosines_see_directions_only(seed: int, factor: float) -> None:
    zero = net(0, 0.0)
    one, other = net(seed, 1.0), net(seed, factor)
    for layer, value in update_cosine(zero, one, other).items():
        assert value == pytest.approx(1.0, abs=1e-6), layer
    assert update_cosine(zero, one, net(seed, -factor))["stem"] == pytest.approx(-1.0, abs=1e-6)
    assert abs(update_cosine(zero, one, net(seed + 1))["stem"]) < 1
    assert math.isnan(update_cosine(zero, one, zero)["stem"])


def test_a_gradient_s_share_of_its_weights() -> None:
    weights, gradients = net(0), net(0, 0.25)
    assert gradient_profile(weights, gradients) == pytest.approx({"stem": 0.25, "block_0": 0.25}, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 12))
def test_distortion_of_batches_is_that_of_the_whole(cut: int) -> None:
    before, after = np.random.default_rng(0).normal(size=(2, 12, 5))
    parts = Distortion()
    for rows in (slice(cut), slice(cut, 12)):
        parts.add(before[rows], after[rows])
    expected = np.linalg.norm(after - before, axis=1).mean()
    assert parts.mean == pytest.approx(expected, rel=1e-12) == feature_distortion(before, after)
    assert parts.relative == pytest.approx(expected / np.linalg.norm(before, axis=1).mean(), rel=1e-12)


def test_distortion_without_examples_or_length() -> None:
    nothing = Distortion()
    assert math.isnan(nothing.mean) and math.isnan(nothing.relative)
    nothing.add(np.zeros((2, 3)), np.ones((2, 3)))
    assert nothing.mean == pytest.approx(math.sqrt(3)) and math.isnan(nothing.relative)
    with pytest.raises(ValueError, match=r"after: expected features of the shape \[2, 3\], got \[2, 4\]"):
        nothing.add(np.zeros((2, 3)), np.ones((2, 4)))
