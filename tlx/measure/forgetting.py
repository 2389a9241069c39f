"""What adapting costs the source: how much worse the model does what it was pre-trained for."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def forgetting(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    """The score lost on the source's own test split, its head kept.

    Args:
      before: scores of the source model, any shape; higher is better.
      after: scores after adapting, same shape.

    Returns:
      Losses in the unit of the scores: 0 where nothing is forgotten, negative where the model got better.

    Source: Lopez-Paz and Ranzato 2017, "Gradient episodic memory" (backward transfer, with the sign turned).

    >>> forgetting(0.875, [0.875, 0.5, 1.0]).tolist()
    [0.0, 0.375, -0.125]
    """
    return np.subtract(before, after, dtype=np.float64)
