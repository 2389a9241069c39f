"""Features in the basis of their own principal axes, where penalties of every size are one diagonal.

Shape suffixes: N examples, D features, R axes.
"""

from dataclasses import dataclass

import numpy as np

# Axes with less of the variance than this share of the first one's hold rounding errors of float64 alone.
NEGLIGIBLE = 1e-14


@dataclass(frozen=True)
class Spectrum:
    """The principal axes of features.

    Args:
      mean_D: of the features.
      axis_DR: orthonormal columns; at most as many as there are examples.
      variance_R: sum of squares of the centred features along each axis.
      flops: it took, counted by hand.
    """

    mean_D: np.ndarray
    axis_DR: np.ndarray
    variance_R: np.ndarray
    flops: float

    def along(self, x_ND: np.ndarray) -> np.ndarray:
        """Features, centred, along the axes, [examples, axes]."""
        z_NR: np.ndarray = (x_ND - self.mean_D) @ self.axis_DR
        return z_NR

    def back(self, weight_RLC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernels [L, D, C] of weights on the axes, and what they make of the mean, [L, C]."""
        axes, tries, outputs = weight_RLC.shape
        # One product for all, not one for each penalty.
        kernel_DLC = (self.axis_DR @ weight_RLC.reshape(axes, tries * outputs)).reshape(-1, tries, outputs)
        kernel_LDC = np.ascontiguousarray(kernel_DLC.swapaxes(0, 1))
        return kernel_LDC, self.mean_D @ kernel_LDC


def spectrum(x_ND: np.ndarray) -> Spectrum:
    """The principal axes of features, by one eigendecomposition for every penalty that will be tried.

    Args:
      x_ND: features.

    Returns:
      Their spectrum in float64; no axis where all examples are alike.

    Source: Hastie, Tibshirani and Friedman (2009), eq. 3.47 and section 18.3.5: with fewer examples than features the
      decomposition is that of the N×N matrix. A symmetric one of size n is counted as 9n³ operations (Golub and Van
      Loan, 2013, section 8.3).
    """
    x_ND = np.asarray(x_ND, np.float64)
    mean_D = x_ND.mean(axis=0)
    x_ND = x_ND - mean_D
    count, size = x_ND.shape
    small = min(count, size)
    gram = x_ND.T @ x_ND if size <= count else x_ND @ x_ND.T
    variance_R, vector_R = np.linalg.eigh(gram)
    kept = variance_R > NEGLIGIBLE * max(variance_R[-1], 0.0) * small
    variance_R, vector_R = variance_R[kept], vector_R[:, kept]
    axis_DR = vector_R if size <= count else (x_ND.T @ vector_R) / np.sqrt(variance_R)
    flops = 2.0 * count * size * small + 9.0 * small**3 + 2.0 * count * size * len(variance_R) * (size > count)
    return Spectrum(mean_D, axis_DR, variance_R, flops)
