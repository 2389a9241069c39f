"""Losses against the formulas written out, and at the ends of their range."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.losses import (
    UNSCORED,
    accuracy_and_loss,
    correct,
    cross_entropy,
    loss_of,
    mean_scored,
    of_shares,
    of_tokens,
    score_and_loss,
    shares,
)

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [1.0, 1.0, 7.0]], np.float32)
LABELS = np.array([0, 2, 0, 2], np.int32)


def by_hand(logits: np.ndarray, label: int, smoothing: float) -> float:
    """-Σ target · log softmax, in double precision."""
    total = sum(math.exp(value) for value in logits)
    target = [(1 - smoothing) * (c == label) + smoothing / len(logits) for c in range(len(logits))]
    return -sum(t * math.log(math.exp(value) / total) for t, value in zip(target, logits, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_cross_entropy_is_the_formula(smoothing: float) -> None:
    expected = [by_hand(row, label, smoothing) for row, label in zip(LOGITS, LABELS, strict=True)]
    got = cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing)
    assert got.shape == (4,) and got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_known_values() -> None:
    even = cross_entropy(jnp.zeros((1, 4)), jnp.array([3]), 0.3)
    np.testing.assert_allclose(even, math.log(4), rtol=1e-6)
    sure = cross_entropy(jnp.array([[math.log(3.0), 0.0]]), jnp.array([0]))
    np.testing.assert_allclose(sure, math.log(4 / 3), rtol=1e-6)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.0), (1, 2e30)])
def test_huge_logits_neither_overflow_nor_vanish(label: int, expected: float) -> None:
    logits_BC = np.array([[1e30, -1e30]], np.float32)
    np.testing.assert_allclose(cross_entropy(jnp.asarray(logits_BC), jnp.array([label])), [expected], rtol=1e-6)
    assert accuracy_and_loss(logits_BC, np.array([label])) == (1.0 - label, pytest.approx(expected, rel=1e-6))


def test_a_shift_of_all_logits_changes_nothing() -> None:
    shifted = cross_entropy(jnp.asarray(LOGITS + 1024.0), jnp.asarray(LABELS), 0.1)
    np.testing.assert_allclose(shifted, cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), 0.1), atol=1e-4)


def test_the_gradient_is_softmax_minus_target() -> None:
    smoothing = 0.2
    grad_BC = jax.grad(lambda z: jnp.sum(cross_entropy(z, jnp.asarray(LABELS), smoothing)))(jnp.asarray(LOGITS))
    exp_BC = np.exp(LOGITS.astype(np.float64))
    target_BC = 0.8 * np.eye(3)[LABELS] + 0.2 / 3
    np.testing.assert_allclose(grad_BC, exp_BC / exp_BC.sum(axis=1, keepdims=True) - target_BC, atol=1e-6)


def test_one_program_serves_every_smoothing() -> None:
    traces = []

    @jax.jit
    def loss(smoothing: jax.Array) -> jax.Array:
        traces.append(1)
        return cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing)

    for smoothing in (0.0, 0.1, 0.9):
        expected = [by_hand(row, label, smoothing) for row, label in zip(LOGITS, LABELS, strict=True)]
        np.testing.assert_allclose(loss(jnp.float32(smoothing)), expected, rtol=1e-6, atol=1e-6)
    assert len(traces) == 1


def test_correct_takes_the_first_of_equal_logits() -> None:
    assert correct(jnp.asarray(LOGITS), jnp.asarray(LABELS)).tolist() == [True, False, False, True]
    assert correct(jnp.zeros((3, 3)), jnp.array([0, 1, 2])).tolist() == [True, False, False]


def test_accuracy_and_loss_on_the_host() -> None:
    accuracy, loss = accuracy_and_loss(LOGITS, LABELS)
    assert accuracy == 0.5
    expected = [by_hand(row, label, 0.0) for row, label in zip(LOGITS, LABELS, strict=True)]
    assert loss == pytest.approx(sum(expected) / 4, rel=1e-12)


def test_host_and_device_agree() -> None:
    rng = np.random.default_rng(0)
    logits_NC = (rng.normal(size=(500, 10)) * 5).astype(np.float32)
    label_N = rng.integers(0, 10, 500)
    accuracy, loss = accuracy_and_loss(logits_NC, label_N)
    logits, label = jnp.asarray(logits_NC), jnp.asarray(label_N)
    assert round(accuracy * 500) == int(jnp.sum(correct(logits, label)))
    assert loss == pytest.approx(float(jnp.mean(cross_entropy(logits, label))), rel=1e-5)


# Labels of tokens

TOKEN_LOGITS = np.stack([LOGITS, LOGITS[::-1] * 0.5])
TOKEN_LABELS = np.array([[0, UNSCORED, 2, UNSCORED], [UNSCORED, UNSCORED, UNSCORED, 1]], np.int32)


def test_the_mean_over_tokens_is_over_those_that_have_a_label() -> None:
    smoothing = 0.1
    scored = list(zip(*np.nonzero(TOKEN_LABELS != UNSCORED), strict=True))
    expected = np.mean([by_hand(TOKEN_LOGITS[at], TOKEN_LABELS[at], smoothing) for at in scored])

    def loss(logits: jax.Array, label: np.ndarray) -> jax.Array:
        return mean_scored(cross_entropy(logits, jnp.asarray(label), smoothing), jnp.asarray(label))

    value, grad = jax.value_and_grad(loss)(jnp.asarray(TOKEN_LOGITS), TOKEN_LABELS)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(np.any(grad != 0, axis=-1), TOKEN_LABELS != UNSCORED)
    none, grad = jax.value_and_grad(loss)(jnp.asarray(TOKEN_LOGITS), np.full((2, 4), UNSCORED, np.int32))
    assert none == 0.0 and not np.any(grad)


def test_the_mean_over_examples_is_the_plain_one_to_the_last_bit() -> None:
    value = jnp.asarray(np.random.default_rng(0).normal(size=1001), jnp.float32)
    assert mean_scored(value, jnp.zeros(1001, jnp.int32)) == jnp.mean(value)


def test_parts_count_by_their_labelled_tokens() -> None:
    label_KBT = np.stack([TOKEN_LABELS[:1], TOKEN_LABELS[1:], np.full((1, 4), UNSCORED)])
    np.testing.assert_allclose(shares(jnp.asarray(label_KBT)), [2 / 3, 1 / 3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(shares(jnp.asarray(label_KBT[2:])), [1.0])
    over = jax.vmap(lambda label: shares(label[None], "d")[0], axis_name="d")
    np.testing.assert_allclose(over(jnp.asarray(label_KBT)), [2 / 3, 1 / 3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(over(jnp.full((4, 1, 3), UNSCORED)), np.full(4, 0.25))


def test_accuracy_and_loss_of_tokens_on_the_host() -> None:
    accuracy, loss = accuracy_and_loss(TOKEN_LOGITS, TOKEN_LABELS)
    scored = TOKEN_LABELS != UNSCORED
    assert (accuracy, loss) == accuracy_and_loss(TOKEN_LOGITS[scored], TOKEN_LABELS[scored])
    assert correct(jnp.asarray(TOKEN_LOGITS), jnp.asarray(TOKEN_LABELS)).shape == (2, 4)
    with pytest.raises(ValueError, match="no token has a label"):
        accuracy_and_loss(TOKEN_LOGITS, np.full((2, 4), UNSCORED))


# Labels that are shares of classes


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_whole_classes_as_shares_give_the_same_to_the_last_bit(smoothing: float) -> None:
    hot = jnp.eye(3, dtype=jnp.float32)[LABELS]
    got = cross_entropy(jnp.asarray(LOGITS), hot, smoothing)
    np.testing.assert_array_equal(got, cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_mixed_label_costs_the_mixture_of_what_its_classes_cost(smoothing: float) -> None:
    share, other = np.array([0.25, 0.5, 1.0, 0.9]), LABELS[::-1]
    eye = np.eye(3)
    mixed = share[:, None] * eye[LABELS] + (1 - share)[:, None] * eye[other]
    got = cross_entropy(jnp.asarray(LOGITS), jnp.asarray(mixed, jnp.float32), jnp.float32(smoothing))
    own, others = (
        [by_hand(row, label, smoothing) for row, label in zip(LOGITS, labels, strict=True)]
        for labels in (LABELS, other)
    )
    np.testing.assert_allclose(got, share * own + (1 - share) * others, rtol=1e-5)
    np.testing.assert_allclose(mean_scored(got, jnp.asarray(mixed, jnp.float32)), np.mean(got), rtol=1e-6)


def test_shares_are_known_by_their_type_and_tokens_by_their_axes() -> None:
    for label, kinds in (
        (jnp.zeros(4, jnp.int32), (False, False)),
        (jnp.zeros((4, 3), jnp.int32), (False, True)),
        (jnp.zeros((4, 3), jnp.float32), (True, False)),
    ):
        assert (of_shares(label), of_tokens(label)) == kinds


@pytest.mark.parametrize("shape", [(4,), (4, 2), (1, 3), (2, 4, 3)])
def test_shares_of_other_classes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match=r"^shares of classes \[.*\] do not fit logits \[4, 3\]$"):
        cross_entropy(jnp.asarray(LOGITS), jnp.zeros(shape))


# Scores that are predicted

SCORES = np.array([0.5, -1.0, 2.0, 0.0], np.float32)


def test_scores_are_learned_by_the_squared_error() -> None:
    said_N1 = jnp.asarray(LOGITS[:, :1])
    expected = [(float(a) - float(b)) ** 2 for a, b in zip(LOGITS[:, 0], SCORES, strict=True)]
    np.testing.assert_allclose(loss_of(said_N1, jnp.asarray(SCORES), 0.3), expected, rtol=1e-6)
    # Classes are as ever.
    np.testing.assert_array_equal(
        loss_of(jnp.asarray(LOGITS), jnp.asarray(LABELS)), cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    )


def test_the_score_of_scores_is_the_share_of_variance_that_is_explained() -> None:
    assert score_and_loss(SCORES[:, None], SCORES) == (1.0, 0.0)
    assert score_and_loss(np.full((4, 1), SCORES.mean()), SCORES) == (0.0, pytest.approx(np.var(SCORES)))
    explained, error = score_and_loss(SCORES[:, None] + 2.0, SCORES)
    assert error == pytest.approx(4.0) and explained == pytest.approx(1 - 4.0 / np.var(SCORES))
    assert score_and_loss(np.zeros((2, 1)), np.zeros(2)) == (0.0, 0.0)
    assert score_and_loss(LOGITS, LABELS) == accuracy_and_loss(LOGITS, LABELS)
