"""Random numbers that are the same on every machine and with every numpy, from Philox's raw bits.

What is computed from them here and in the files that draw uses nothing but + - * / and square roots, one array
operation at a time: IEEE 754 says what each gives to the last bit, as it does not of sines and exponentials.
"""

import math

import numpy as np

# Purposes: one word of Philox's counter, beyond those of `tlx.data.order`.
SHAPES, LABELS, WRONG, RENAMED, POSES, STROKES, STRIPES, NOISE, WORDS = range(100, 109)

_PAIRS, _FOURS, _EIGHTS = (np.uint64(mask) for mask in (0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0xFFFFFFFF))
_EIGHT_BYTES_STD = math.sqrt(8 * (256**2 - 1) / 12)


class Draws:
    """A sequence of random numbers; how it is asked for in pieces does not change it.

    Args:
      seed: 0 ≤ seed < 2**64.
      stream: keeps apart the uses of one seed and purpose.
      purpose: one of this module's.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """

    def __init__(self, seed: int, stream: int, purpose: int) -> None:
        key = np.array([seed, stream], np.uint64)
        self._bits = np.random.Philox(key=key, counter=[0, 0, 0, purpose])

    def words(self, *shape: int) -> np.ndarray:
        """uint64 of a shape."""
        return self._bits.random_raw(math.prod(shape)).reshape(shape)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """float64 of a shape, each from `low` to below `high`."""
        return low + (high - low) * ((self.words(*shape) >> np.uint64(11)) * 2.0**-53)

    def below(self, stop: int, *shape: int) -> np.ndarray:
        """int64 of a shape, each from 0 to `stop` - 1, for `stop` up to 2**32."""
        return (((self.words(*shape) >> np.uint64(32)) * np.uint64(stop)) >> np.uint64(32)).astype(np.int64)

    def bell(self, *shape: int) -> np.ndarray:
        """float64 of a shape with mean 0 and standard deviation 1, nearly normal: sums of eight uniform bytes."""
        word = self.words(*shape)
        word = (word & _PAIRS) + ((word >> np.uint64(8)) & _PAIRS)
        word = (word & _FOURS) + ((word >> np.uint64(16)) & _FOURS)
        total = (word & _EIGHTS) + (word >> np.uint64(32))
        return (total - 8 * 127.5) * (1 / _EIGHT_BYTES_STD)


def order(seed: int, stream: int, purpose: int, rows: int, columns: int) -> np.ndarray:
    """Permutations of range(columns), one a row: int64 [rows, columns]."""
    return np.argsort(Draws(seed, stream, purpose).words(rows, columns), axis=1, kind="stable")
