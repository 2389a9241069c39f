"""Which examples are seen, and when: a pure function of (seed, step), so that a run resumes exactly."""

from functools import lru_cache

import numpy as np

from tlx.errors import TlxError

# One word of Philox's counter, so that the same seed gives unrelated numbers to each purpose. Those of `protocol` and
# `mixture` follow here, too, so that none is given twice; 1000 is the builders'.
_ORDER, _SUBSET, _CLASSES, _SPLIT, FOLDS, HALVES, MIXTURE = range(7)
# That of component c of a mixture is this plus c: components of one size are not walked in one order.
COMPONENT = 2**32


def permutation(n: int, seed: int, purpose: int, epoch: int = 0) -> np.ndarray:
    """A seeded permutation of range(n), the same on every machine and with every numpy.

    Args:
      n: number of positions.
      seed: 0 ≤ seed < 2**64.
      purpose: keeps apart the uses of one seed.
      epoch: keeps apart the permutations of one use.

    Returns:
      int32 [n].

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=[0, 0, 0, purpose])
    # numpy promises the raw bits for good, but not what Generator.permutation makes of them.
    return np.argsort(bits.random_raw(n), kind="stable").astype(np.int32)


def subset(label_N: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Choose examples class by class in turn; a smaller budget's choice is the head of a larger one's.

    A class with too few examples runs out and the others go on. A budget below the number of
    classes leaves some of them out, which ones depends on the seed.

    Args:
      label_N: integer class of each example.
      budget: how many to choose, 1 ≤ budget ≤ N.
      seed: of the choice.

    Returns:
      int32 [budget], positions in range(N).

    Raises:
      TlxError: the budget is below 1 or above N.
    """
    if not 1 <= budget <= len(label_N):
        raise TlxError(f"budget {budget}: expected between 1 and {len(label_N)}, the examples there are")
    classes, class_N = np.unique(label_N, return_inverse=True)
    shuffled_N = permutation(len(label_N), seed, _SUBSET)
    round_N = np.empty(len(label_N), np.int64)
    for c in range(len(classes)):
        members = shuffled_N[class_N[shuffled_N] == c]
        round_N[members] = np.arange(len(members))
    turn = permutation(len(classes), seed, _CLASSES)
    return np.lexsort((turn[class_N], round_N))[:budget].astype(np.int32)


def stratified_split(label_N: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split examples in two, each class in its own proportion (to within one example).

    Args:
      label_N: integer class of each example.
      held_out: size of the second part.
      seed: of the split.

    Returns:
      int32 [N - held_out] and int32 [held_out], both in shuffled order.
    """
    shuffled_N = permutation(len(label_N), seed, _SPLIT)
    by_class_N = shuffled_N[np.argsort(label_N[shuffled_N], kind="stable")]
    # Evenly spaced positions along the examples sorted by class: each class gives its share.
    chosen = by_class_N[(np.arange(held_out) * len(label_N) + len(label_N) // 2) // held_out]
    out_N = np.isin(shuffled_N, chosen)
    return shuffled_N[~out_N], shuffled_N[out_N]


def batch_indices(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The batch of one step: positions `step * batch_size` onwards of an endless stream of permuted epochs.

    Args:
      n: number of examples.
      batch_size: examples per step; may exceed n.
      seed: of the order.
      step: counted from 0; any step is found without going through those before it.

    Returns:
      int32 [batch_size], positions in range(n).

    Raises:
      TlxError: there are no examples.
    """
    return index_table(n, batch_size, seed, step, step + 1).ravel()


def index_table(n: int, batch_size: int, seed: int, start: int, stop: int) -> np.ndarray:
    """The batches of steps `start` to `stop - 1`, row by row `batch_indices`.

    Args:
      n: number of examples.
      batch_size: examples per step.
      seed: of the order.
      start: first step.
      stop: one past the last step.

    Returns:
      int32 [stop - start, batch_size], positions in range(n).

    Raises:
      TlxError: there are no examples.
    """
    if n < 1:
        raise TlxError("there are no examples to draw batches from")
    return epochs(n, seed, start * batch_size, stop * batch_size).reshape(stop - start, batch_size)


def epochs(n: int, seed: int, first: int, last: int, purpose: int = _ORDER) -> np.ndarray:
    """A piece of an endless stream of permuted epochs.

    Args:
      n: number of examples, at least 1.
      seed: of the order.
      first: place in the stream.
      last: one past the last place.
      purpose: keeps apart the streams of one seed.

    Returns:
      int32 [last - first], positions in range(n).
    """
    orders = [_epoch(n, seed, epoch, purpose) for epoch in range(first // n, -(-last // n))]
    stream = np.concatenate([np.empty(0, np.int32), *orders])
    skipped = first // n * n
    return stream[first - skipped : last - skipped]


def host_slice(batch_B: np.ndarray, host: int, hosts: int) -> np.ndarray:
    """One host's share of a global batch: the shares of all hosts, one after another, are the batch.

    Args:
      batch_B: positions or examples of the whole batch, along the first axis.
      host: which, counted from 0.
      hosts: how many there are.

    Returns:
      [B / hosts], as a view.

    Raises:
      TlxError: the batch cannot be split evenly, or there is no such host.
    """
    if not 0 <= host < hosts:
        raise TlxError(f"host {host}: expected between 0 and {hosts - 1}, as there are {hosts}")
    if len(batch_B) % hosts:
        raise TlxError(f"a batch of {len(batch_B)} examples cannot be split evenly over {hosts} hosts")
    each = len(batch_B) // hosts
    return batch_B[host * each : (host + 1) * each]


# As many epochs as a mixture of a few data sets has under way.
@lru_cache(maxsize=16)
def _epoch(n: int, seed: int, epoch: int, purpose: int) -> np.ndarray:
    order_n = permutation(n, seed, purpose, epoch)
    order_n.flags.writeable = False  # the cache hands out one array many times
    return order_n
