"""CKA: golden values, what it does not see, sums over batches, and representations it cannot compare."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from tlx.measure.representation.cka import cka_of, linear_cka, rbf_cka
from tlx.measure.representation.minibatch_cka import MinibatchCka, hsic
from tlx.measure.representation.moments import Moments, moments

RNG = np.random.RandomState(1337)
X = RNG.randn(100, 10)
Y = RNG.randn(100, 10) + X
SEEDS = st.integers(0, 2**20)


def test_golden_values() -> None:
    assert linear_cka(X, Y, debiased=False) == pytest.approx(0.55761, abs=5e-6)
    assert linear_cka(X, Y) == pytest.approx(0.51346, abs=5e-6)
    assert rbf_cka(X, Y, 0.5) == pytest.approx(0.65483, abs=5e-6)


def test_by_the_formula() -> None:
    a, b = X - X.mean(0), Y[:, :4] - Y[:, :4].mean(0)
    norms = [np.linalg.norm(m) for m in (b.T @ a, a.T @ a, b.T @ b)]
    assert linear_cka(X, Y[:, :4], debiased=False) == pytest.approx(norms[0] ** 2 / (norms[1] * norms[2]), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), shift=st.floats(-50, 50))
def test_rotation_scale_and_shift_change_nothing(seed: int, scale: float, shift: float) -> None:
    turned = scale * X @ ortho_group.rvs(10, random_state=seed) + shift
    for measure in (linear_cka, rbf_cka, lambda a, b: linear_cka(a, b, debiased=False)):
        assert measure(turned, Y) == pytest.approx(measure(X, Y), rel=1e-7)
        assert measure(turned, X) == pytest.approx(1.0, rel=1e-7)


def test_invertible_maps_are_seen() -> None:
    stretched = X * np.linspace(1, 20, 10)
    assert linear_cka(stretched, X) < 0.8


def test_it_is_symmetric() -> None:
    assert linear_cka(X, Y[:, :3]) == pytest.approx(linear_cka(Y[:, :3], X), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 100), max_size=6), offset=st.floats(-1e3, 1e3))
def test_batches_are_as_the_whole(cuts: list[int], offset: float) -> None:
    edges, sums = sorted({0, 100, *cuts}), Moments()
    for start, stop in itertools.pairwise(edges):
        sums.add(X[start:stop] + offset, Y[start:stop] - offset)
    for debiased in (True, False):
        assert cka_of(sums, debiased=debiased) == pytest.approx(linear_cka(X, Y, debiased=debiased), abs=1e-6)


def test_features_far_from_zero_lose_no_digits() -> None:
    assert linear_cka(X + 1e6, Y - 1e6) == pytest.approx(linear_cka(X, Y), abs=1e-6)


def test_an_empty_batch_adds_nothing() -> None:
    sums = moments(X, Y)
    sums.add(X[:0], Y[:0])
    assert sums.count == 100 and cka_of(sums) == linear_cka(X, Y)


def test_unrelated_wide_features_are_alike_only_to_the_biased_one() -> None:
    rng = np.random.default_rng(0)
    found = [(linear_cka(a, b), linear_cka(a, b, debiased=False)) for a, b in rng.normal(size=(6, 2, 20, 100))]
    debiased, biased = np.mean(found, axis=0)
    assert abs(debiased) < 0.05 and biased > 0.8


@pytest.mark.parametrize("debiased", [True, False])
def test_constant_features_have_no_similarity(debiased: bool) -> None:
    assert math.isnan(linear_cka(np.full((9, 2), 3.7), Y[:9], debiased=debiased))
    assert math.isnan(rbf_cka(np.full((9, 2), 3.7), Y[:9]))


@pytest.mark.parametrize(("size", "known"), [(1, False), (3, False), (4, True)])
def test_debiasing_needs_four_examples(size: int, known: bool) -> None:
    assert math.isfinite(linear_cka(X[:size], X[:size])) == known


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:99], "y: expected as many examples as x, 100, got 99"),
        (X, Y[:, 0], "y: expected finite features [examples, features], got an array [100]"),
        ([[1.0, math.nan]], [[1.0]], "x: expected finite features [examples, features], got an array [1, 2]"),
        (X[:0], Y[:0], "x: expected at least one example"),
        (np.zeros((3, 0)), Y[:3], "x: expected finite features [examples, features], got an array [3, 0]"),
    ],
)
def test_what_is_no_pair_of_representations_is_refused(x: object, y: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        linear_cka(x, y, debiased=False)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_batches_of_another_width_are_refused() -> None:
    sums = moments(X, Y)
    with pytest.raises(ValueError, match=r"x, y: expected \[10, 10\] features as before, got \[9, 10\]"):
        sums.add(X[:, 1:], Y)


def test_one_minibatch_is_the_debiased_cka() -> None:
    one = MinibatchCka()
    one.add(X, Y)
    assert one.value == pytest.approx(linear_cka(X, Y), rel=1e-9)


def test_many_minibatches_come_near_it() -> None:
    rng = np.random.RandomState(0)
    x = rng.randn(4000, 10)
    y, batches = x + rng.randn(4000, 10), MinibatchCka()
    for start in range(0, 4000, 40):
        batches.add(x[start : start + 40], y[start : start + 40])
    assert batches.count == 4000 and batches.value == pytest.approx(linear_cka(x, y), abs=0.01)


def test_wide_features_need_no_wide_matrix() -> None:
    batches, wide = MinibatchCka(), np.random.default_rng(1).normal(size=(16, 200_000))
    batches.add(wide, wide * 2)
    assert batches.value == pytest.approx(1.0)


def test_a_short_rest_is_left_out_and_counted() -> None:
    batches = MinibatchCka()
    batches.add(X[:50], Y[:50])
    before = batches.value
    batches.add(X[50:53], Y[50:53])
    assert (batches.count, batches.left_out, batches.value) == (50, 3, before)


def test_minibatches_without_similarity() -> None:
    batches = MinibatchCka()
    assert math.isnan(batches.value)
    batches.add(np.ones((5, 2)), X[:5])
    assert math.isnan(batches.value)


def test_hsic_by_hand() -> None:
    k, el = X[:5] @ X[:5].T, Y[:5] @ Y[:5].T
    k, el = (m - np.diag(np.diag(m)) for m in (k, el))
    one = np.ones(5)
    by_hand = np.trace(k @ el) + (one @ k @ one) * (one @ el @ one) / 12 - 2 / 3 * one @ k @ el @ one
    assert hsic(X[:5] @ X[:5].T, Y[:5] @ Y[:5].T) == pytest.approx(by_hand / 10, rel=1e-12)


def test_hsic_refuses_three_examples() -> None:
    with pytest.raises(ValueError, match="k: expected at least 4 examples, got 3"):
        hsic(np.eye(3), np.eye(3))


def test_minibatches_of_other_examples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x, y: expected finite features of the same examples, got \[4, 10\] and"):
        MinibatchCka().add(X[:4], Y[:5])
