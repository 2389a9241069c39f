"""Several data sets as one stream, in given proportions: a pure function of (seed, step), like a single one's order."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from tlx.data.order import COMPONENT, MIXTURE, epochs, permutation
from tlx.errors import TlxError

# The stream is made of blocks in which each component has its share to within one example. A block is found without
# those before it, so a seek costs one block and one epoch of each component.
_BLOCK, _LARGEST_BLOCK = 1024, 2**20

Weights = tuple[Fraction, ...]


def mixture_indices(
    sizes: Sequence[int], weights: Sequence[float], batch_size: int, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The batch of one step of a mixture.

    Args:
      sizes: examples of each component.
      weights: share of each, in any unit; only their ratios count.
      batch_size: examples per step, of all components together.
      seed: of the order.
      step: counted from 0; any step is found without going through those before it.

    Returns:
      int32 [batch_size] components, and int32 [batch_size] positions in range(sizes[component]). Of the first m
      examples of the whole stream, a component's are its share of m to within 1, wherever m is a multiple of the
      block's length; its own are seen in permuted epochs, each example once in each.

    Raises:
      TlxError: a component is empty, or a weight is not a positive number or too small.
    """
    component_SB, position_SB = mixture_table(sizes, weights, batch_size, seed, step, step + 1)
    return component_SB[0], position_SB[0]


def mixture_table(
    sizes: Sequence[int], weights: Sequence[float], batch_size: int, seed: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """The batches of steps `start` to `stop - 1`, row by row `mixture_indices`.

    Args:
      sizes: examples of each component.
      weights: share of each, in any unit.
      batch_size: examples per step.
      seed: of the order.
      start: first step.
      stop: one past the last step.

    Returns:
      int32 [stop - start, batch_size] components, and as many positions.

    Raises:
      TlxError: a component is empty, or a weight is not a positive number or too small.
    """
    shares = _shares(sizes, weights)
    length = _block_length(shares)
    first, last = start * batch_size, stop * batch_size
    blocks = range(first // length, -(-last // length))
    whole = np.concatenate([np.empty(0, np.int32), *(_block(shares, length, seed, block) for block in blocks)])
    begin = first // length * length
    position = np.empty(len(whole), np.int32)
    for c, size in enumerate(sizes):
        mine = whole == c
        seen = _seen(shares, c, begin)
        position[mine] = epochs(size, seed, seen, seen + int(mine.sum()), COMPONENT + c)
    wanted = slice(first - begin, last - begin)
    shape = (stop - start, batch_size)
    return whole[wanted].reshape(shape), position[wanted].reshape(shape)


def _shares(sizes: Sequence[int], weights: Sequence[float]) -> Weights:
    """The weights as exact fractions of 1: sums of floats would drift in a long run."""
    if len(sizes) != len(weights) or not sizes:
        raise TlxError(f"a mixture of {len(sizes)} data sets: expected as many weights, got {len(weights)}")
    for c, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        if size < 1:
            raise TlxError(f"component {c} of the mixture: there are no examples in it")
        if not (math.isfinite(weight) and weight > 0):
            raise TlxError(f"component {c} of the mixture: expected a weight above 0, got {weight!r}; or leave it out")
    total = sum(map(Fraction, weights), Fraction(0))
    shares = tuple(Fraction(weight) / total for weight in weights)
    if (least := min(shares)) * _LARGEST_BLOCK < 1:
        c = shares.index(least)
        raise TlxError(f"component {c} of the mixture: its share of {float(least):.1g} is below 1 in {_LARGEST_BLOCK}")
    return shares


def _block_length(shares: Weights) -> int:
    """Long enough that the rarest component is due in every block, or else its count could go down."""
    length = _BLOCK
    while min(shares) * length < 1:
        length *= 2
    return length


def _seen(shares: Weights, component: int, place: int) -> int:
    """How many of a component stand before a place that begins a block."""
    below = sum(shares[:component], Fraction(0))
    return math.floor((below + shares[component]) * place) - math.floor(below * place)


@lru_cache(maxsize=16)
def _block(shares: Weights, length: int, seed: int, block: int) -> np.ndarray:
    """The components of one block in a shuffled order."""
    ends = (block * length, (block + 1) * length)
    counts = [_seen(shares, c, ends[1]) - _seen(shares, c, ends[0]) for c in range(len(shares))]
    sorted_L = np.repeat(np.arange(len(shares), dtype=np.int32), counts)
    shuffled_L = sorted_L[permutation(length, seed, MIXTURE, block)]
    shuffled_L.flags.writeable = False
    return shuffled_L
