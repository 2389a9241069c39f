"""Ridge regression for many penalties at once, in closed form.

Shape suffixes: N examples, D features, R axes, L penalties, C outputs.
"""

from collections.abc import Sequence

import numpy as np

from tlx.linear.solution import Solution
from tlx.linear.spectrum import spectrum


def ridge_path(x_ND: np.ndarray, target_NC: np.ndarray, penalties: Sequence[float]) -> Solution:
    """The linear maps with the least squared error and an L2 penalty, one for every penalty.

    Each minimises mean over examples of ½‖x W + b − y‖², plus λ/2 ‖W‖²; b is free. In the usual notation of a sum over
    examples the penalty is λN, as `alpha` of scikit-learn's `Ridge` is.

    Args:
      x_ND: features.
      target_NC: what is to be predicted.
      penalties: λ, above 0, in the square of the features' unit.

    Returns:
      Kernels and biases in float64, in the order of the penalties.

    Source: Hoerl and Kennard (1970), eq. 2.1, on centred features; all λ from one eigendecomposition (Hastie,
      Tibshirani and Friedman, 2009, eq. 3.47).
    """
    basis = spectrum(x_ND)
    target_NC = np.asarray(target_NC, np.float64)
    mean_C = target_NC.mean(axis=0)
    # Centred targets sum to 0, so the features need not be centred once more.
    pull_RC = basis.axis_DR.T @ (np.asarray(x_ND, np.float64).T @ (target_NC - mean_C))
    lambda_L = np.asarray(penalties, np.float64)
    shrunk_RL = 1.0 / (basis.variance_R[:, None] + lambda_L * len(target_NC))
    weight_RLC = shrunk_RL[..., None] * pull_RC[:, None]
    kernel_LDC, at_mean_LC = basis.back(weight_RLC)
    # At the optimum the penalised error is what the targets vary less what the weights explain.
    explained_L = np.einsum("rlc,rc->l", weight_RLC, pull_RC)
    loss_L = 0.5 * (np.square(target_NC - mean_C).sum() - explained_L) / len(target_NC)
    (axes, outputs), (count, size) = pull_RC.shape, x_ND.shape
    each = 2.0 * axes * outputs * size
    flops_L = np.full(len(lambda_L), (basis.flops + 2.0 * count * size * outputs + each) / len(lambda_L) + each)
    return Solution(kernel_LDC, mean_C - at_mean_LC, loss_L, np.zeros(len(lambda_L)), flops_L)
