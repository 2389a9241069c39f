"""Feature distortion: how far training moved the features of single examples.

Shape suffixes: N examples, D features.
"""

import math

import numpy as np
from numpy.typing import ArrayLike


class Distortion:
    """The mean length of what features moved by, over batches.

    Source: Kumar, Raghunathan, Jones, Ma and Liang 2022, "Fine-tuning can distort pretrained features": measured apart
      on examples like those that were trained on (ID) and unlike them (OOD). Ours gives the share of the features' own
      length beside it, since widths and scales of stages differ.
    """

    def __init__(self) -> None:
        self.count = 0
        self._moved = self._length = 0.0

    def add(self, before_ND: ArrayLike, after_ND: ArrayLike) -> None:
        """Add the next examples.

        Args:
          before_ND: features before training.
          after_ND: those of the same examples after it.

        Raises:
          ValueError: if they are not matrices of one shape.
        """
        one, other = np.asarray(before_ND, np.float64), np.asarray(after_ND, np.float64)
        if one.ndim != 2 or one.shape != other.shape:
            raise ValueError(f"after: expected features of the shape {list(one.shape)}, got {list(other.shape)}")
        self.count += len(one)
        self._moved += float(np.linalg.norm(other - one, axis=1).sum())
        self._length += float(np.linalg.norm(one, axis=1).sum())

    @property
    def mean(self) -> float:
        """Mean of ‖after - before‖, in the features' unit; NaN without examples."""
        return self._moved / self.count if self.count else math.nan

    @property
    def relative(self) -> float:
        """The same as a share of the mean length before; NaN where that is 0."""
        return self._moved / self._length if self._length else math.nan


def feature_distortion(before_ND: ArrayLike, after_ND: ArrayLike) -> float:
    """Mean over examples of ‖after - before‖; arguments and errors as for `Distortion.add`.

    >>> feature_distortion([[0.0, 0.0], [1.0, 1.0]], [[3.0, 4.0], [1.0, 1.0]])
    2.5
    """
    made = Distortion()
    made.add(before_ND, after_ND)
    return made.mean
