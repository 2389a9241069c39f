"""The order of examples: pure, complete, nested, balanced, and the same for good."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data.order import batch_indices, host_slice, index_table, stratified_split, subset
from tlx.errors import TlxError

LABELS = np.arange(300) % 10
UNEVEN = np.repeat([0, 1, 2], [50, 30, 4])

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**64 - 1)


def test_batches_are_pinned():
    """The order is part of every result: a change here breaks the comparison with all earlier runs."""
    table = index_table(7, 3, seed=0, start=0, stop=4)
    assert table.dtype == np.int32
    assert table.tolist() == [[0, 2, 1], [5, 4, 3], [6, 5, 3], [2, 4, 1]]
    assert batch_indices(1397, 6, seed=3, step=10**9).tolist() == [274, 788, 568, 47, 93, 1371]


def test_subset_is_pinned():
    """So is the choice of a budget's examples."""
    assert subset(LABELS, 12, seed=0).tolist() == [208, 234, 179, 7, 15, 193, 60, 191, 76, 32, 8, 14]
    assert subset(LABELS, 12, seed=0).dtype == np.int32


@settings(max_examples=50, deadline=None)
@given(n=sizes, batch_size=sizes, seed=seeds, epochs=st.integers(1, 4))
def test_each_epoch_has_every_example_once(n, batch_size, seed, epochs):
    steps = -(-n * epochs // batch_size)
    stream = index_table(n, batch_size, seed, 0, steps).ravel()[: n * epochs]
    assert np.array_equal(np.sort(stream.reshape(epochs, n), axis=1), np.tile(np.arange(n), (epochs, 1)))


@settings(max_examples=50, deadline=None)
@given(n=sizes, batch_size=sizes, seed=seeds, start=st.integers(0, 10**12))
def test_a_seek_equals_going_through(n, batch_size, seed, start):
    table = index_table(n, batch_size, seed, start, start + 3)
    for row, step in enumerate(range(start, start + 3)):
        assert np.array_equal(table[row], batch_indices(n, batch_size, seed, step))


def test_a_batch_may_exceed_the_dataset():
    assert np.bincount(batch_indices(3, 9, seed=1, step=5)).tolist() == [3, 3, 3]


def test_epochs_and_seeds_differ():
    table = index_table(100, 100, seed=0, start=0, stop=20)
    assert len({row.tobytes() for row in table}) == 20
    assert len({batch_indices(100, 100, seed, 0).tobytes() for seed in range(20)}) == 20


def test_a_caller_cannot_spoil_the_order():
    first = batch_indices(10, 10, seed=0, step=0)
    expected = first.copy()
    first[:] = 0
    assert np.array_equal(batch_indices(10, 10, seed=0, step=0), expected)


def test_no_steps_and_no_examples():
    assert index_table(5, 2, seed=0, start=4, stop=4).shape == (0, 2)
    with pytest.raises(TlxError, match="no examples"):
        batch_indices(0, 2, seed=0, step=0)


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(-2, 5), min_size=1, max_size=60), seed=seeds)
def test_smaller_budgets_are_the_heads_of_larger_ones(labels, seed):
    label_N = np.array(labels)
    whole = subset(label_N, len(labels), seed)
    assert sorted(whole.tolist()) == list(range(len(labels)))
    for budget in range(1, len(labels)):
        assert np.array_equal(subset(label_N, budget, seed), whole[:budget])


@pytest.mark.parametrize("budget", [10, 20, 25, 100, 300])
def test_budgets_are_balanced(budget):
    counts = np.bincount(LABELS[subset(LABELS, budget, seed=5)], minlength=10)
    assert counts.sum() == budget
    assert np.ptp(counts) == (budget % 10 > 0)


def test_a_class_that_runs_out():
    assert np.bincount(UNEVEN[subset(UNEVEN, 30, seed=0)]).tolist() == [13, 13, 4]
    assert np.bincount(UNEVEN[subset(UNEVEN, 84, seed=0)]).tolist() == [50, 30, 4]


def test_a_budget_below_the_classes_takes_as_many_of_them():
    chosen = [frozenset(LABELS[subset(LABELS, 3, seed)]) for seed in range(20)]
    assert {len(classes) for classes in chosen} == {3}
    assert len(set(chosen)) > 5


@pytest.mark.parametrize("budget", [0, -1, 301])
def test_impossible_budgets(budget):
    with pytest.raises(TlxError, match=f"budget {budget}: expected between 1 and 300"):
        subset(LABELS, budget, seed=0)


def test_seeds_choose_differently():
    assert len({subset(LABELS, 20, seed).tobytes() for seed in range(20)}) == 20


def test_a_subset_does_not_follow_the_order_of_the_same_seed():
    assert not np.array_equal(subset(np.zeros(50, int), 50, seed=0), batch_indices(50, 50, seed=0, step=0))


@pytest.mark.parametrize("held_out", [1, 7, 42, 84])
def test_a_stratified_split_keeps_the_proportions(held_out):
    kept, out = stratified_split(UNEVEN, held_out, seed=0)
    assert sorted([*kept, *out]) == list(range(84))
    shares = np.bincount(UNEVEN) * held_out / 84
    assert np.all(np.abs(np.bincount(UNEVEN[out], minlength=3) - shares) <= 1)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_the_shares_of_all_hosts_are_the_batch(hosts):
    batch = batch_indices(100, 24, seed=3, step=17)
    shares = [host_slice(batch, host, hosts) for host in range(hosts)]
    assert {len(share) for share in shares} == {24 // hosts}
    assert np.array_equal(np.concatenate(shares), batch)


@pytest.mark.parametrize(
    ("size", "host", "hosts", "message"),
    [
        (6, 0, 4, "a batch of 6 examples cannot be split evenly over 4 hosts"),
        (8, 4, 4, "host 4: expected between 0 and 3, as there are 4"),
        (8, -1, 2, "host -1: expected between 0 and 1, as there are 2"),
    ],
)
def test_impossible_shares(size, host, hosts, message):
    with pytest.raises(TlxError) as caught:
        host_slice(np.arange(size), host, hosts)
    assert str(caught.value) == message
