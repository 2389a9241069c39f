"""What a solver finds.

Shape suffixes: D features, L penalties, C outputs.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Solution:
    """Linear maps, one for every penalty.

    Args:
      kernel_LDC: factors.
      bias_LC: constants.
      loss_L: the objective at the solution, its penalty included.
      gradient_L: how far from the optimum, as the solver measures it; 0 for a closed form.
      flops_L: operations it took, counted by hand; what all share is divided among them.
    """

    kernel_LDC: np.ndarray
    bias_LC: np.ndarray
    loss_L: np.ndarray
    gradient_L: np.ndarray
    flops_L: np.ndarray
