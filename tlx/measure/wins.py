"""How often one model is better than another, example by example."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# A share of wins of 0 or 1 is held as far from the ends as this.
CLIP = 0.001


def win_rate(loss_TN: ArrayLike, loss_SN: ArrayLike) -> Array:
    """The share of examples on which transfer has the lower loss, ties a half.

    Args:
      loss_TN: losses of the transfer arm, one for each example along the last axis.
      loss_SN: losses of scratch, same shape.

    Returns:
      Shares, the shape without its last axis; NaN without examples, or where a loss is NaN.

    Raises:
      ValueError: if the shapes differ.

    Source: Zamir et al. 2018, "Taskonomy", section 4 (there: gain).

    >>> win_rate([0.1, 0.5, 0.3, 0.9], [0.2, 0.5, 0.4, 0.8]).item()
    0.625
    """
    ours, theirs = np.asarray(loss_TN, np.float64), np.asarray(loss_SN, np.float64)
    if ours.shape != theirs.shape or ours.ndim < 1:
        raise ValueError(f"loss_TN: expected the losses of the same examples, got {ours.shape} and {theirs.shape}")
    wins = np.where(ours < theirs, 1.0, np.where(ours == theirs, 0.5, 0.0))
    wins = np.where(np.isnan(ours) | np.isnan(theirs), np.nan, wins)
    return np.sum(wins, axis=-1) / ours.shape[-1] if ours.shape[-1] else np.full(ours.shape[:-1], np.nan)


def pairwise_wins(loss_KN: ArrayLike) -> Array:
    """Who wins against whom: entry i, j is the share of examples on which source i beats source j, ties a half.

    Args:
      loss_KN: (sources, examples) losses on one target.

    Returns:
      (sources, sources) shares; opposite entries sum to 1.

    Raises:
      ValueError: if this is no matrix.

    Source: Zamir et al. 2018, "Taskonomy", section 3.3.

    >>> pairwise_wins([[0.1, 0.2], [0.3, 0.1]]).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    losses = np.asarray(loss_KN, np.float64)
    if losses.ndim != 2:
        raise ValueError(f"loss_KN: expected losses by source and example, got the shape {losses.shape}")
    return np.stack([win_rate(np.broadcast_to(mine, losses.shape), losses) for mine in losses])


def affinities(win_KK: ArrayLike) -> Array:
    """How good each source is for a target, from who wins against whom.

    The ratios of wins to losses are taken as how much better one source is than another, and the scores are the
    principal right eigenvector of their matrix.

    Args:
      win_KK: (sources, sources) shares from `pairwise_wins`.

    Returns:
      (sources,) positive scores that sum to 1.

    Raises:
      ValueError: if there is no source, or a share is not a number between 0 and 1.

    Source: Saaty 1987, "The analytic hierarchy process"; Zamir et al. 2018, "Taskonomy", section 3.3 (the clipping).

    >>> affinities([[0.5, 0.8], [0.2, 0.5]]).round(6).tolist()
    [0.8, 0.2]
    """
    wins = np.asarray(win_KK, np.float64)
    square = wins.ndim == 2 and wins.shape[0] == wins.shape[1] and wins.size > 0
    if not square or not np.all((wins >= 0) & (wins <= 1)):
        raise ValueError("win_KK: expected a square matrix of shares between 0 and 1")
    clipped = np.clip(wins, CLIP, 1 - CLIP)
    values, vectors = np.linalg.eig(clipped / clipped.T)
    principal = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    return principal / principal.sum()
