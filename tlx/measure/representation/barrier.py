"""Whether two networks lie in one basin: what is lost on the straight line between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

POINTS = 11
# Leaves to accuracy and loss.
Evaluate = Callable[[Any], tuple[float, float]]


@dataclass(frozen=True)
class Barrier:
    """Accuracy and loss on the line from one network to another.

    Args:
      alpha_P: share of the second network, 0 to 1.
      accuracy_P: at each point.
      loss_P: at each point.
    """

    alpha_P: NDArray[np.float64]
    accuracy_P: NDArray[np.float64]
    loss_P: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """The most that the loss lies above the line between its ends; 0 without a barrier, NaN for a loss that is."""
        return self._above(self.loss_P)

    @property
    def accuracy(self) -> float:
        """The most that the accuracy lies below the line between its ends; 0 without a barrier."""
        return self._above(-self.accuracy_P)

    def _above(self, value_P: NDArray[np.float64]) -> float:
        first, last = value_P[0], value_P[-1]
        # Between equal ends nothing may be rounded either.
        between_P = self.alpha_P[::-1] * first + self.alpha_P * last if first != last else first + 0 * self.alpha_P
        # At the ends it is 0, but for rounding.
        return float(np.max(value_P[1:-1] - between_P[1:-1], initial=0.0))


def barrier(
    evaluate: Evaluate,
    one: Any,
    other: Any,
    points: int = POINTS,
    refreshed: Callable[[Any], Any] | None = None,
) -> Barrier:
    """The barrier between two networks of one architecture.

    Symmetric in the networks, and exactly 0 for identical ones.

    Args:
      evaluate: leaves to accuracy and loss, on whichever examples.
      one: nested dict of arrays.
      other: the same leaves of the other network.
      points: on the line, both ends included; at least 11.
      refreshed: leaves to the same leaves with running statistics estimated anew, for networks with BatchNorm, whose
        statistics are wrong between two networks; used at every point. None for networks without.

    Returns:
      Accuracy and loss at equal distances; their barriers are `max_α L((1-α)θ₁ + αθ₂) - ((1-α)L(θ₁) + αL(θ₂))`, and the
      same of 1 - accuracy.

    Raises:
      ValueError: if there are fewer points, or the trees differ.

    Source: Frankle et al. 2020, "Linear mode connectivity and the lottery ticket hypothesis", section 2; Entezari et
      al. 2022, equation 1, for the line between the ends in place of their mean; Neyshabur et al. 2020.
    """
    if points < POINTS:
        raise ValueError(f"points: expected at least {POINTS}, got {points}")
    share_P = np.arange(points) / (points - 1)
    found = []
    for alpha, beta in zip(share_P, share_P[::-1], strict=True):
        leaves = mixed(one, other, float(alpha), float(beta))
        found.append(evaluate(refreshed(leaves) if refreshed else leaves))
    accuracy_P, loss_P = np.array(found, np.float64).T
    return Barrier(share_P, accuracy_P, loss_P)


def mixed(one: Any, other: Any, alpha: float, beta: float | None = None) -> Any:
    """A network on the line between two.

    Args:
      one: nested dict of arrays.
      other: the same leaves of the other network.
      alpha: share of the other.
      beta: share of the one; None for 1 - alpha.

    Returns:
      `βθ₁ + αθ₂`, in the leaves' own dtypes; integers are those of the nearer network.

    Raises:
      ValueError: if the trees differ.
    """
    beta = 1.0 - alpha if beta is None else beta
    shapes = [jax.tree.map(np.shape, each) for each in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError("other: expected the same leaves as those of the first network")

    def between(a: Any, b: Any) -> Any:
        first, second = np.asarray(a), np.asarray(b)
        if np.issubdtype(first.dtype, np.integer) or first.dtype == bool:
            return first if alpha <= beta else second
        # Where both are equal nothing may be rounded: identical networks have no barrier.
        line = beta * first.astype(np.float64) + alpha * second.astype(np.float64)
        return np.where(first == second, first, line.astype(first.dtype))

    return jax.tree.map(between, one, other)
