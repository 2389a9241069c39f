"""The law of how much data a start is worth: `D_T = k D_F^alpha N^beta`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TransferLaw:
    """A fitted law, with standard errors.

    Args:
      k: the factor; it holds `N^beta` where all sizes were equal.
      alpha: exponent of the target's data D_F.
      beta: exponent of the parameters N; 0 where all sizes were equal.
      log_k_error: standard error of the natural logarithm of k, NaN where nothing is left over to estimate it from.
      alpha_error: standard error of alpha, the same.
      beta_error: standard error of beta, the same; NaN where all sizes were equal.
      n: points fitted.
    """

    k: float
    alpha: float
    beta: float
    log_k_error: float = np.nan
    alpha_error: float = np.nan
    beta_error: float = np.nan
    n: int = 0

    def transferred(self, data: ArrayLike, parameters: ArrayLike = 1.0) -> Array:
        """The effective data transferred D_T.

        Args:
          data: of the target, D_F, in the unit of the fit.
          parameters: of the model, N.

        >>> TransferLaw(k=2.0, alpha=0.5, beta=1.0).transferred(100, 3).item()
        60.0
        """
        amount, size = np.asarray(data, np.float64), np.asarray(parameters, np.float64)
        return np.asarray(self.k * amount**self.alpha * size**self.beta)

    def multiplier(self, data: ArrayLike, parameters: ArrayLike = 1.0) -> Array:
        """How much one unit of data is worth after this start, `(D_F + D_T) / D_F`.

        Args:
          data: of the target, D_F, in the unit of the fit; positive.
          parameters: of the model, N.

        >>> TransferLaw(k=2.0, alpha=0.5, beta=1.0).multiplier(100, 3).item()
        1.6
        """
        return 1 + self.transferred(data, parameters) / np.asarray(data, np.float64)


def fit_law(transferred: ArrayLike, data: ArrayLike, parameters: ArrayLike = 1.0) -> TransferLaw:
    """Fit the law by least squares of the logarithms, all points at once.

    What is censored has no logarithm to fit, and what is negative has none either: leave such points out, and say so,
    as a law fitted to the rest then holds only between the ends of the grid.

    Args:
      transferred: (n,) effective data D_T, positive.
      data: (n,) of the target D_F, positive, of two sizes or more.
      parameters: (n,) of the models N, positive, or one number for all.

    Returns:
      The law.

    Raises:
      ValueError: if a number is not positive and finite, or there are too few points or too few different ones.

    Source: Hernandez et al. 2021, "Scaling laws for transfer", equation 1. Theirs fits the share
    D_T / (D_F + D_T) for each D_F and then the fits; ours all points in one regression.

    >>> law = fit_law([20, 40, 40, 80], [1, 4, 1, 4], [1, 1, 2, 2])
    >>> round(law.k, 6), round(law.alpha, 6), round(law.beta, 6)
    (20.0, 0.5, 1.0)
    """
    amount = np.asarray(data, np.float64)
    found, size = (np.broadcast_to(np.asarray(x, np.float64), amount.shape) for x in (transferred, parameters))
    for name, values in (("transferred", found), ("data", amount), ("parameters", size)):
        if values.ndim != 1 or not np.all(np.isfinite(values) & (values > 0)):
            raise ValueError(f"{name}: expected positive, finite numbers in one dimension")
    columns = [np.ones(amount.size), np.log(amount)]
    sizes_differ = amount.size > 0 and bool(np.ptp(size) > 0)
    if sizes_differ:
        columns.append(np.log(size))
    design = np.stack(columns, axis=1)
    if amount.size < design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError("data: expected different amounts, at least two, and not tied to the parameters")
    answer, *_ = np.linalg.lstsq(design, np.log(found), rcond=None)
    errors = _standard_errors(design, np.log(found) - design @ answer)
    beta, beta_error = (float(answer[2]), float(errors[2])) if sizes_differ else (0.0, np.nan)
    return TransferLaw(
        k=float(np.exp(answer[0])),
        alpha=float(answer[1]),
        beta=beta,
        log_k_error=float(errors[0]),
        alpha_error=float(errors[1]),
        beta_error=beta_error,
        n=amount.size,
    )


def _standard_errors(design: Array, left_over: Array) -> Array:
    spare = len(design) - design.shape[1]
    if spare == 0:
        return np.full(design.shape[1], np.nan)
    variance = float(left_over @ left_over) / spare
    return np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
