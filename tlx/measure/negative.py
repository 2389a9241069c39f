"""Where transfer does harm: how often the gain is negative, and how often surely so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tlx.measure.multiplicity import benjamini_hochberg
from tlx.measure.paired_tests import t_test_p
from tlx.measure.stats import FEWEST


@dataclass(frozen=True)
class NegativeTransfer:
    """How many of some gains are negative.

    Args:
      gains: how many there are.
      negative: of these, with a mean below zero.
      tested: of these, with seeds enough for a test.
      significant: of those tested, below zero although so many were tested.
      flags: for each gain, whether it is one of the significant ones.
    """

    gains: int
    negative: int
    tested: int
    significant: int
    flags: tuple[bool, ...]

    @property
    def raw_rate(self) -> float:
        """The share of gains with a mean below zero; NaN without gains."""
        return self.negative / self.gains if self.gains else float("nan")

    @property
    def significant_rate(self) -> float:
        """The share of tested gains that are significantly below zero; NaN without tests."""
        return self.significant / self.tested if self.tested else float("nan")


def negative_transfer(gains: Sequence[ArrayLike], q: float = 0.05) -> NegativeTransfer:
    """How often transfer does harm, over pairs of source and target or other gains.

    Args:
      gains: of each pair, (seeds,) gains paired by seed; pairs without a seed are left out of all counts.
      q: the rate of false discoveries allowed among those called significant, in either direction.

    Returns:
      Counts and rates.

    Raises:
      ValueError: if a gain is not finite.

    Source: Benjamini and Hochberg 1995, "Controlling the false discovery rate".

    >>> found = negative_transfer([[-0.1, -0.11, -0.12], [0.1, 0.1, 0.2], [-0.1, 0.05, -0.02], [-0.3]])
    >>> found.raw_rate, found.tested, found.significant, found.flags
    (0.75, 3, 1, (True, False, False, False))
    """
    samples = [np.asarray(gain_S, np.float64) for gain_S in gains]
    means = np.array([gain_S.mean() if gain_S.size else np.nan for gain_S in samples])
    p_values = np.array([t_test_p(gain_S) if gain_S.size >= FEWEST else np.nan for gain_S in samples])
    flags = (benjamini_hochberg(p_values) <= q) & (means < 0)
    return NegativeTransfer(
        gains=int(np.isfinite(means).sum()),
        negative=int((means < 0).sum()),
        tested=int(np.isfinite(p_values).sum()),
        significant=int(flags.sum()),
        flags=tuple(bool(flag) for flag in flags),
    )
