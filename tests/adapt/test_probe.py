"""The probe's targets: classes, smoothed ones, classes without an example, scores."""

from typing import Any

import numpy as np
import pytest
from tiny import adapt, tiny_model

from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Fixed
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.linear.logistic import logistic_path
from tlx.linear.ridge import ridge_path
from tlx.linear.solution import Solution

PENALTIES = (1e-3, 1e-1)
RNG = np.random.default_rng(0)
X_ND = RNG.normal(2.0, 1.0, (40, 5))
LABEL_N = (np.arange(40) % 3).astype(np.int32)


def solved(label_N: np.ndarray, outputs: int, solver: str = "newton", smoothing: float = 0.0) -> Solution:
    solve = METHODS["probe"].solve
    assert solve is not None
    return solve({"solver": solver}, Fixed(X_ND, label_N, outputs, smoothing, PENALTIES))


def same(one: Solution, other: Solution) -> None:
    np.testing.assert_array_equal(one.kernel_LDC, other.kernel_LDC)
    np.testing.assert_array_equal(one.bias_LC, other.bias_LC)


def test_classes_are_one_hot_for_newton_and_signs_for_ridge() -> None:
    one_hot = np.eye(3)[LABEL_N]
    same(solved(LABEL_N, 3), logistic_path(X_ND, one_hot, PENALTIES))
    same(solved(LABEL_N, 3, "ridge"), ridge_path(X_ND, 2 * one_hot - 1, PENALTIES))
    # The signs say the same as one-hot targets, only louder.
    quiet = ridge_path(X_ND, one_hot, PENALTIES)
    np.testing.assert_allclose(solved(LABEL_N, 3, "ridge").kernel_LDC, 2 * quiet.kernel_LDC, rtol=1e-9)


def test_smoothing_is_that_of_the_targets() -> None:
    smooth = 0.9 * np.eye(3)[LABEL_N] + 0.1 / 3
    same(solved(LABEL_N, 3, smoothing=0.1), logistic_path(X_ND, smooth, PENALTIES))


@pytest.mark.parametrize("solver", ["newton", "ridge"])
def test_scores_are_least_squares(solver: str) -> None:
    score_N = (X_ND @ np.arange(5.0)).astype(np.float32)
    same(solved(score_N, 1, solver), ridge_path(X_ND, score_N[:, None], PENALTIES))


def test_a_class_without_examples_has_the_odds_of_half_an_example() -> None:
    found, some = solved(LABEL_N * 2, 6), logistic_path(X_ND, np.eye(3)[LABEL_N], PENALTIES)
    np.testing.assert_array_equal(found.kernel_LDC[..., ::2], some.kernel_LDC)
    np.testing.assert_array_equal(found.kernel_LDC[..., 1::2], 0.0)
    for i in range(len(PENALTIES)):
        logits_C = X_ND.mean(axis=0) @ found.kernel_LDC[i] + found.bias_LC[i]
        odds = np.exp(logits_C[1]) / np.exp(logits_C[::2]).sum()
        assert odds == pytest.approx(0.5 / 40)
        assert set((X_ND @ found.kernel_LDC[i] + found.bias_LC[i]).argmax(axis=1)) <= {0, 2, 4}
    same(solved(np.zeros(40, np.int32), 2), solved(np.zeros(40, np.int32), 2))
    assert np.all(solved(np.zeros(40, np.int32), 2).bias_LC[:, 0] > solved(np.zeros(40, np.int32), 2).bias_LC[:, 1])


def test_nothing_can_stand_beside_it() -> None:
    both = Adapted(tiny_model(), "probe", (("solver", "newton"),), (("bitfit", ()),))
    why = "'probe' solves for a head on features that nothing else may change, so no other method can stand beside it"
    with pytest.raises(ConfigError, match=f"^also: {why}$"):
        both.abstract()


@pytest.mark.parametrize(
    ("model", "changes", "linear"),
    [
        ("vit", {}, True),
        ("resnet", {}, True),
        ("bit", {}, True),
        ("efficientnet", {}, True),
        ("bert", {}, True),
        ("bert", {"head": "classify_deep"}, False),
    ],
)
def test_which_heads_are_one_layer_on_one_vector(model: str, changes: dict[str, Any], linear: bool) -> None:
    assert adapt("head", tiny_model(model, **changes)).anatomy.has_linear_head == linear
