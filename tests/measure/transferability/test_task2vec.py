"""Fisher embeddings against gradients in closed form, and the distances between them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.measure.transferability.task2vec import asymmetric, distance, embedding, task2vec


def logits(leaves: Any, x_B: jax.Array) -> jax.Array:
    hidden = x_B @ leaves["body"]["kernel"] + leaves["body"]["bias"][None, :]
    return hidden @ leaves["head"]["kernel"]


def probe(scale: float = 1.0) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    body = {"kernel": draw.normal(size=(4, 3)), "bias": np.zeros(3)}
    made = {"body": body, "head": {"kernel": scale * draw.normal(size=(3, 2))}}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), made)


def test_the_embedding_is_the_mean_squared_gradient_for_drawn_labels() -> None:
    leaves, x_ND = probe(), np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)
    head = np.asarray(leaves["head"]["kernel"], np.float64)
    share_NC = np.asarray(jax.nn.softmax(logits(leaves, x_ND)), np.float64)
    # d log p(y|x) / d body[i, f] = x_i (head[f, y] - Σ_c p_c head[f, c]); the expectation over y is exact here.
    slope_NCF = head.T[None] - (share_NC @ head.T)[:, None]
    expected_F = np.mean(x_ND**2, axis=1) @ np.einsum("nc,ncf->nf", share_NC, slope_NCF**2) / 2000
    found_F = embedding(logits, leaves, x_ND, seed=0, batch=500)
    assert found_F.shape == (3,) and found_F.dtype == np.float64
    np.testing.assert_allclose(found_F, expected_F, rtol=0.1)
    assert np.array_equal(found_F, embedding(logits, leaves, x_ND, seed=0, batch=500))
    assert not np.array_equal(found_F, embedding(logits, leaves, x_ND, seed=1, batch=500))


def test_batches_of_any_size_give_the_same() -> None:
    leaves, x_ND = probe(), np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)
    whole = embedding(logits, leaves, x_ND, seed=0, batch=10)
    for batch in (5, 100):
        np.testing.assert_allclose(embedding(logits, leaves, x_ND, seed=0, batch=batch), whole, rtol=1e-5)


def test_nothing_to_embed_is_refused() -> None:
    for leaves, x_ND in ((probe(), np.zeros((0, 4))), ({"head": {"kernel": np.ones((4, 2))}}, np.zeros((1, 4)))):
        with pytest.raises(ValueError, match="^inputs and leaves: expected an example, and a leaf below the head with"):
            embedding(logits, leaves, x_ND, seed=0)


def test_distances_by_hand() -> None:
    one, other = np.array([1.0, 3.0]), np.array([3.0, 1.0])
    # Each divided by the sum: (1/4, 3/4) and (3/4, 1/4), whose cosine is 6/10.
    assert float(distance(one, other)) == pytest.approx(0.4, abs=1e-7)
    assert float(task2vec(one, other)) == pytest.approx(-0.4, abs=1e-7)
    assert float(distance(one, one)) == pytest.approx(0, abs=1e-9)
    assert float(distance([1.0, 0.0], [0.0, 1.0])) == pytest.approx(1)
    np.testing.assert_allclose(distance(np.stack([one, other]), other), [0.4, 0], atol=1e-7)
    assert float(asymmetric(one, other, other)) == pytest.approx(0.85 * 0.4, abs=1e-7)
    assert float(distance(one, 7 * other)) == pytest.approx(float(distance(7 * other, one)))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ([1.0, 2.0], [1.0], "embeddings: expected [F] or [S, F] and [F], got shapes (2,) and (1,)"),
        ([], [], "embeddings: expected [F] or [S, F] and [F], got shapes (0,) and (0,)"),
        ([1.0, math.nan], [1.0, 1.0], "embeddings: expected finite numbers that are not negative"),
        ([1.0, 1.0], [-1.0, 1.0], "embeddings: expected finite numbers that are not negative"),
    ],
)
def test_what_is_no_embedding_is_refused(one: list[float], other: list[float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        task2vec(one, other)
    assert str(caught.value) == message


def test_embeddings_of_nothing_are_at_no_distance_that_is_not_a_number() -> None:
    assert float(distance(np.zeros(3), np.ones(3))) == 1.0
