"""What every estimator should beat: numbers that do not look at the target."""

import math


def parameter_count(parameters: int) -> float:
    """The size of the source, as an estimate.

    Args:
      parameters: how many numbers it has, at least 1.

    Raises:
      ValueError: fewer.

    >>> parameter_count(1000)
    1000.0
    """
    if parameters < 1:
        raise ValueError(f"parameters: expected at least 1, got {parameters}")
    return float(parameters)


def source_accuracy(accuracy: float) -> float:
    """How the source does on its own test split, as an estimate.

    Args:
      accuracy: a share, 0 to 1.

    Raises:
      ValueError: it is out of range.

    >>> source_accuracy(0.75)
    0.75
    """
    if not math.isfinite(accuracy) or not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy: expected a share from 0 to 1, got {accuracy}")
    return float(accuracy)
