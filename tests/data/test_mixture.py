"""Mixtures: in proportion, every component in its own epochs, any step without those before it, the same for good."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data.mixture import mixture_indices, mixture_table
from tlx.errors import TlxError

SIZES, WEIGHTS = (7, 300, 40), (0.1, 0.6, 0.3)

components = st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 20)), min_size=1, max_size=5)
seeds = st.integers(0, 2**64 - 1)


def whole(sizes, weights, seed, length):
    """The first examples of the stream."""
    component, position = mixture_table(sizes, weights, length, seed, 0, 1)
    return component[0], position[0]


def test_the_mixture_is_pinned():
    """The order is part of every result: a change here breaks the comparison with all earlier runs."""
    component, position = mixture_indices(SIZES, WEIGHTS, 8, seed=0, step=0)
    assert component.dtype == position.dtype == np.int32
    assert component.tolist() == [2, 2, 1, 1, 2, 2, 1, 1]
    assert position.tolist() == [2, 29, 249, 33, 9, 16, 132, 61]
    component, position = mixture_indices(SIZES, WEIGHTS, 8, seed=3, step=10**9)
    assert component.tolist() == [1, 0, 2, 1, 1, 1, 2, 2]
    assert position.tolist() == [224, 3, 34, 266, 186, 195, 32, 21]


@settings(max_examples=25, deadline=None)
@given(parts=components, batch_size=st.integers(1, 700), seed=seeds, start=st.integers(0, 10**12))
def test_a_seek_equals_going_through(parts, batch_size, seed, start):
    sizes, weights = zip(*parts, strict=True)
    component_SB, position_SB = mixture_table(sizes, weights, batch_size, seed, start, start + 3)
    for row, step in enumerate(range(start, start + 3)):
        component_B, position_B = mixture_indices(sizes, weights, batch_size, seed, step)
        assert np.array_equal(component_SB[row], component_B)
        assert np.array_equal(position_SB[row], position_B)


@settings(max_examples=25, deadline=None)
@given(parts=components, seed=seeds)
def test_shares_are_exact_and_epochs_complete(parts, seed):
    sizes, weights = zip(*parts, strict=True)
    component, position = whole(sizes, weights, seed, 4096)
    shares = np.array(weights) / sum(weights)
    for length in (1024, 2048, 4096):
        counts = np.bincount(component[:length], minlength=len(sizes))
        assert np.all(np.abs(counts - shares * length) < 1 + 1e-6)
    for c, size in enumerate(sizes):
        mine = position[component == c]
        for epoch in range(len(mine) // size):
            assert sorted(mine[epoch * size : (epoch + 1) * size].tolist()) == list(range(size))


def test_a_rare_component_has_its_share_in_the_long_run():
    component, _ = mixture_table((10, 10), (1.0, 9999.0), 4096, 0, 0, 40)
    assert abs(int((component == 0).sum()) - 16.384) < 2.1


def test_a_batch_is_mixed():
    component, _ = mixture_table((50, 50), (1, 1), 64, 0, 0, 200)
    counts = (component == 0).sum(axis=1)
    assert 12 < counts.min() < 28 < 36 < counts.max() < 52


def test_only_the_ratios_of_the_weights_count():
    ours = mixture_table(SIZES, (1, 6, 3), 32, 5, 0, 50)
    theirs = mixture_table(SIZES, (10, 60, 30), 32, 5, 0, 50)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_components_of_one_size_are_walked_differently():
    component, position = whole((100, 100), (1, 1), 0, 400)
    assert not np.array_equal(position[component == 0][:100], position[component == 1][:100])


def test_seeds_differ():
    streams = {whole(SIZES, WEIGHTS, seed, 64)[0].tobytes() for seed in range(20)}
    assert len(streams) == 20


def test_no_steps():
    assert [part.shape for part in mixture_table(SIZES, WEIGHTS, 8, 0, 5, 5)] == [(0, 8), (0, 8)]


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ((), (), "a mixture of 0 data sets: expected as many weights, got 0"),
        ((3,), (1, 2), "a mixture of 1 data sets: expected as many weights, got 2"),
        ((3, 0), (1, 2), "component 1 of the mixture: there are no examples in it"),
        ((3, 3), (0, 2), "component 0 of the mixture: expected a weight above 0, got 0; or leave it out"),
        ((3, 3), (1, -2.0), "component 1 of the mixture: expected a weight above 0, got -2.0; or leave it out"),
        ((3, 3), (1, float("nan")), "component 1 of the mixture: expected a weight above 0, got nan; or leave it out"),
        ((3, 3), (1e-9, 1), "component 0 of the mixture: its share of 1e-09 is below 1 in 1048576"),
    ],
)
def test_impossible_mixtures(sizes, weights, message):
    with pytest.raises(TlxError) as caught:
        mixture_indices(sizes, weights, 4, 0, 0)
    assert str(caught.value) == message
