"""Random numbers of one image, the same on every machine and with every numpy."""

import zlib

import numpy as np

# Of Philox's counter, so that no other use of a seed in tlx gets the same numbers.
_PURPOSE = 1 << 32


class Draws:
    """A stream of random numbers.

    numpy promises the raw bits of Philox for good, but not what `Generator` makes of them; so that is done here.

    Args:
      seed: 0 ≤ seed < 2**64.
      index: of the image, from 0.
      name: keeps apart the uses of one seed.

    Source: Salmon et al. (2011) for the bits; Box and Muller (1958).
    """

    def __init__(self, seed: int, index: int, name: str = "") -> None:
        counter = [0, 0, 0, _PURPOSE + zlib.crc32(name.encode())]
        self._bits = np.random.Philox(key=np.array([seed, index], np.uint64), counter=counter)

    def uniform(self, *shape: int) -> np.ndarray:
        """float64 from 0 to below 1."""
        raw = self._bits.random_raw(int(np.prod(shape, dtype=np.int64)))
        # The upper 53 of the 64 bits are as many as a double holds.
        return (np.asarray(raw, np.uint64).reshape(shape) >> np.uint64(11)) * 2.0**-53

    def normal(self, *shape: int) -> np.ndarray:
        """float64 of mean 0 and variance 1."""
        length, angle = self.uniform(2, *shape)
        return np.sqrt(-2 * np.log1p(-length)) * np.cos(2 * np.pi * angle)

    def poisson(self, mean: np.ndarray) -> np.ndarray:
        """float64 whole numbers of given means, up to some hundred.

        Args:
          mean: of each number; may have any shape.
        """
        uniform = self.uniform(*mean.shape)
        count, probability = np.zeros_like(mean), np.exp(-mean)
        below = probability.copy()
        # Past ten standard deviations nothing is left but the rounding of the sum.
        for number in range(1, int(mean.max() + 10 * np.sqrt(mean.max()) + 20)):
            count += uniform >= below
            probability = probability * mean / number
            below += probability
        return count
