"""Sums over examples from which CKA and CCA follow, so that no more than one batch of activations is ever held.

Shape suffixes: N examples, D and E features of the two representations, B and C likewise.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Moments:
    """Sums of two representations of the same examples, up to those of the fourth order that debiasing needs.

    They take D² + E² + DE numbers, however many examples there are. All are of features less a pivot, the mean of the
    first batch, so that features far from 0 lose no digits; what is computed from them does not depend on it.

    Source: the shifted sums of Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", section 3.
    """

    def __init__(self) -> None:
        self.count = 0
        self._pivots: tuple[Floats, Floats] | None = None
        self._sums: dict[str, tuple[Floats, ...]] = {}

    def add(self, x_ND: ArrayLike, y_NE: ArrayLike) -> None:
        """Add the next examples.

        Args:
          x_ND: features of one representation, one vector an example.
          y_NE: those of the other, of the same examples in the same order.

        Raises:
          ValueError: if they are not finite matrices with as many rows as one another, or have another width than those
            before.
        """
        a_ND, b_NE = _features("x", x_ND), _features("y", y_NE)
        if len(a_ND) != len(b_NE):
            raise ValueError(f"y: expected as many examples as x, {len(a_ND)}, got {len(b_NE)}")
        if self._pivots is not None and (a_ND.shape[1], b_NE.shape[1]) != tuple(map(len, self._pivots)):
            widths = [len(pivot) for pivot in self._pivots]
            raise ValueError(f"x, y: expected {widths} features as before, got {[a_ND.shape[1], b_NE.shape[1]]}")
        if not len(a_ND):
            return
        if self._pivots is None:
            self._pivots = a_ND.mean(axis=0), b_NE.mean(axis=0)
        a_ND, b_NE = a_ND - self._pivots[0], b_NE - self._pivots[1]
        for name, one, other in (("xx", a_ND, a_ND), ("xy", a_ND, b_NE), ("yy", b_NE, b_NE)):
            new = _sums_of(one, other)
            old = self._sums.get(name)
            self._sums[name] = new if old is None else tuple(s + t for s, t in zip(old, new, strict=True))
        self.count += len(a_ND)

    def covariance(self, pair: str) -> Floats:
        """Sum over examples of the products of centred features.

        Args:
          pair: `xx`, `yy` or `xy`.

        Returns:
          [D, D], [E, E] or [D, E].

        Raises:
          ValueError: if there are no examples.
        """
        product_BC, one_B, other_C, *_ = self._of(pair)
        found: Floats = product_BC - np.outer(one_B, other_C) / self.count
        return found

    def norm_products(self, pair: str) -> float:
        """Sum over examples of the squared lengths of both centred vectors, multiplied.

        Args:
          pair: `xx`, `yy` or `xy`.

        Raises:
          ValueError: if there are no examples.
        """
        product_BC, one_B, other_C, both, one_square, other_square, one_B3, other_C3 = self._of(pair)
        a_B, b_C = one_B / self.count, other_C / self.count
        aa, bb = a_B @ a_B, b_C @ b_C
        # Of (|x|² - 2 a·x + |a|²)(|y|² - 2 b·y + |b|²), with a and b the means.
        total = both - 2 * b_C @ other_C3 + bb * one_square - 2 * a_B @ one_B3 + 4 * a_B @ product_BC @ b_C
        total += -2 * bb * (a_B @ one_B) + aa * other_square - 2 * aa * (b_C @ other_C) + self.count * aa * bb
        return float(total)

    def _of(self, pair: str) -> tuple[Floats, ...]:
        if not self.count:
            raise ValueError("x: expected at least one example")
        return self._sums[pair]


def moments(x_ND: ArrayLike, y_NE: ArrayLike) -> Moments:
    """The sums of representations that are there as a whole; arguments and errors as for `Moments.add`."""
    made = Moments()
    made.add(x_ND, y_NE)
    return made


def _sums_of(a_NB: Floats, b_NC: Floats) -> tuple[Floats, ...]:
    """Σ a bᵀ, Σ a, Σ b, Σ |a|²|b|², Σ |a|², Σ |b|², Σ a|b|², Σ |a|²b."""
    a_N, b_N = np.einsum("nb,nb->n", a_NB, a_NB), np.einsum("nc,nc->n", b_NC, b_NC)
    sums = (a_NB.T @ b_NC, a_NB.sum(axis=0), b_NC.sum(axis=0), a_N @ b_N, a_N.sum(), b_N.sum(), b_N @ a_NB, a_N @ b_NC)
    return tuple(np.asarray(each, np.float64) for each in sums)


def _features(name: str, x_ND: ArrayLike) -> Floats:
    values = np.asarray(x_ND, np.float64)
    if values.ndim != 2 or not values.shape[1] or not np.all(np.isfinite(values)):
        raise ValueError(f"{name}: expected finite features [examples, features], got an array {list(values.shape)}")
    return values
