"""The diagonal Fisher information against a closed form, in batches of uneven sizes."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tlx.adapt import fisher
from tlx.adapt.fisher import diagonal_fisher


def softmax_regression(examples: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    leaves = {"layer": {"kernel": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), "bias": jnp.zeros(3)}}
    return leaves, rng.normal(size=(examples, 4)).astype(np.float32), rng.integers(0, 3, examples).astype(np.int32)


def logits(leaves: dict[str, Any], x_B4: Any) -> Any:
    return x_B4 @ leaves["layer"]["kernel"] + leaves["layer"]["bias"][None]


def closed_form(leaves: dict[str, Any], x_N4: np.ndarray, label_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of log p(y|x) is x (1_y - p)ᵀ for the kernel and 1_y - p for the bias."""
    score_N3 = x_N4 @ np.asarray(leaves["layer"]["kernel"]) + np.asarray(leaves["layer"]["bias"])
    p_N3 = np.exp(score_N3) / np.exp(score_N3).sum(axis=1, keepdims=True)
    error_N3 = np.eye(3)[label_N] - p_N3
    return np.mean((x_N4[:, :, None] * error_N3[:, None, :]) ** 2, axis=0), np.mean(error_N3**2, axis=0)


@pytest.mark.parametrize("sizes", [(7,), (4, 3), (3, 3, 1), (1, 6)])
@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_it_is_the_mean_of_each_example_s_squared_gradient(
    sizes: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "MOST_EXAMPLES", at_once)
    leaves, x_N4, label_N = softmax_regression(7)
    bounds = np.cumsum((0, *sizes))
    batches = [(x_N4[i:j], label_N[i:j]) for i, j in itertools.pairwise(bounds)]
    found = diagonal_fisher(logits, leaves, batches)["layer"]
    kernel, bias = closed_form(leaves, x_N4, label_N)
    np.testing.assert_allclose(found["kernel"], kernel, rtol=1e-5)
    np.testing.assert_allclose(found["bias"], bias, rtol=1e-5)
    assert found["kernel"].dtype == jnp.float32


def test_one_program_serves_batches_of_all_sizes() -> None:
    leaves, x_N4, label_N = softmax_regression(9)
    traced = []

    def counting(leaves: dict[str, Any], x_B4: Any) -> Any:
        traced.append(x_B4.shape)
        return logits(leaves, x_B4)

    diagonal_fisher(counting, leaves, [(x_N4[:4], label_N[:4]), (x_N4[4:8], label_N[4:8]), (x_N4[8:], label_N[8:])])
    assert traced == [(1, 4)]


def test_large_models_are_taken_one_example_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen numbers where ten may be held at once."""
    monkeypatch.setattr(fisher, "MOST_NUMBERS", 10)
    leaves, x_N4, label_N = softmax_regression(3)
    taken = []

    class Inputs:
        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            taken.append(index.tolist())
            return x_N4[index]

    found = diagonal_fisher(logits, leaves, [(Inputs(), label_N)])
    assert taken == [[0], [1], [2]]
    np.testing.assert_allclose(found["layer"]["kernel"], closed_form(leaves, x_N4, label_N)[0], rtol=1e-5)


def test_leaves_of_half_precision_are_summed_in_single() -> None:
    leaves, x_N4, label_N = softmax_regression(3)
    leaves["layer"]["bias"] = leaves["layer"]["bias"].astype(jnp.bfloat16)

    def mixed(leaves: dict[str, Any], x_B4: Any) -> Any:
        return x_B4 @ leaves["layer"]["kernel"] + leaves["layer"]["bias"].astype(jnp.float32)[None]

    found = diagonal_fisher(mixed, leaves, [(x_N4, label_N)])["layer"]["bias"]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, closed_form(*softmax_regression(3))[1], rtol=1e-2)
