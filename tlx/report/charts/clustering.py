"""The order of rows and columns in which neighbours are alike."""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage


def clustered(rows: Sequence[Sequence[float | None]]) -> list[int]:
    """The order of the rows by average linkage of their Euclidean distances, neighbours as near as can be.

    Args:
      rows: [row, column], None or NaN for what is missing; it counts as the mean of its column.

    Returns:
      Positions of the rows; as given where there are fewer than three.

    Source: Bar-Joseph, Gifford, Jaakkola 2001, "Fast optimal leaf ordering for hierarchical clustering" (scipy's).

    >>> clustered([[0.0, 0.0], [9.0, 9.0], [1.0, 0.0], [8.0, 9.0]])
    [0, 2, 3, 1]
    """
    if len(rows) < 3 or not rows[0]:
        return list(range(len(rows)))
    values = np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    whole = np.where(known, values, mean)
    return [int(place) for place in leaves_list(linkage(whole, method="average", optimal_ordering=True))]
