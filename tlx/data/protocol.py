"""Which examples a protocol allows: labels per class, folds, and some of the classes only."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tlx.data.order import FOLDS, HALVES, permutation, subset
from tlx.data.pipeline import Arrays, digest
from tlx.errors import TlxError, suggest


def subset_per_class(label_N: np.ndarray, per_class: int, num_classes: int, seed: int) -> np.ndarray:
    """Choose as many examples of every class; a smaller choice is the head of a larger one.

    Args:
      label_N: class of each example, in range(num_classes).
      per_class: how many of each, at least 1.
      num_classes: how many classes there are, whether or not they have examples.
      seed: of the choice.

    Returns:
      int32 [per_class * num_classes], positions in range(N): what `order.subset` chooses for that budget.

    Raises:
      TlxError: a class has too few examples; the one with the fewest is named.
    """
    if per_class < 1:
        raise TlxError(f"{per_class} labels per class: expected at least 1")
    counts = np.bincount(label_N, minlength=num_classes)
    if (least := int(counts.min())) < per_class:
        raise TlxError(f"{per_class} labels per class: class {int(counts.argmin())} has {least} examples")
    return subset(label_N, per_class * num_classes, seed)


def folds(label_N: np.ndarray, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split examples into k parts and hold out each in turn.

    Args:
      label_N: integer class of each example.
      k: number of folds, 2 ≤ k ≤ N.
      seed: of the split.

    Returns:
      k pairs of int32 positions, what is kept and what is held out, both in shuffled order. The held-out parts are
      disjoint and cover range(N); their sizes, and their counts of each class, differ by at most 1.

    Raises:
      TlxError: k is below 2 or above N.
    """
    if not 2 <= k <= len(label_N):
        raise TlxError(f"{k} folds: expected between 2 and {len(label_N)}, the examples there are")
    shuffled_N = permutation(len(label_N), seed, FOLDS)
    fold_N = np.empty(len(label_N), np.int64)
    # Dealt out like cards, class after class, so that neither a class nor the whole is uneven.
    fold_N[shuffled_N[np.argsort(label_N[shuffled_N], kind="stable")]] = np.arange(len(label_N)) % k
    out_N = fold_N[shuffled_N]
    return [(shuffled_N[out_N != fold], shuffled_N[out_N == fold]) for fold in range(k)]


def class_halves(num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of the classes; of an odd number, the first is the larger by one.

    Args:
      num_classes: at least 4, so that either half has two.
      seed: of the split.

    Returns:
      int32 [ceil(num_classes / 2)] and int32 [floor(num_classes / 2)] classes, each in rising order.

    Raises:
      TlxError: there are too few classes.

    Source: Yosinski et al. (2014), section 3, who halve ImageNet's 1000 classes into A and B.
    """
    if num_classes < 4:
        raise TlxError(f"halves of {num_classes} classes: expected at least 4, so that either half has two")
    shuffled_C = permutation(num_classes, seed, HALVES)
    half = -(-num_classes // 2)
    return np.sort(shuffled_C[:half]), np.sort(shuffled_C[half:])


def named_classes(chosen: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A semantic split: the classes that are named, and all others.

    Args:
      chosen: names of at least two classes, e.g. those that people made.
      names: of all classes, in the order of their numbers; at least two are not chosen.

    Returns:
      int32 classes that are chosen and int32 classes that are not, each in rising order.

    Raises:
      TlxError: a name is unknown or stands twice, or a part has fewer than two classes.

    Source: Yosinski et al. (2014), section 4.2, natural and man-made classes of ImageNet.
    """
    for i, name in enumerate(chosen):
        if name not in names:
            raise TlxError(f"class {name!r}: there is no such class{suggest(name, names)}")
        if name in chosen[:i]:
            raise TlxError(f"class {name!r} stands twice among the chosen classes")
    is_chosen_C = np.isin(np.array(names), np.array(chosen, dtype=str))
    for count, part in ((int(is_chosen_C.sum()), "chosen"), (int((~is_chosen_C).sum()), "other")):
        if count < 2:
            raise TlxError(f"{count} {part} classes of {len(names)}: expected at least two in either part")
    return np.flatnonzero(is_chosen_C).astype(np.int32), np.flatnonzero(~is_chosen_C).astype(np.int32)


def keep_classes(arrays: Arrays, classes: np.ndarray) -> Arrays:
    """The examples of some classes, which are numbered anew in the given order.

    Args:
      arrays: a split with labels of classes.
      classes: distinct integers in range(arrays.num_classes), at least two.

    Returns:
      Its examples of these classes in their order, with labels in range(len(classes)) and a digest of their own.

    Raises:
      TlxError: a class is out of range or has no examples, there are fewer than two, or the labels are scores.
    """
    if not arrays.num_classes:
        raise TlxError(f"dataset {arrays.name} has scores in place of classes, of which none can be kept")
    classes = np.asarray(classes, np.int64)
    if len(classes) < 2 or len(np.unique(classes)) < len(classes):
        raise TlxError(f"classes {classes.tolist()}: expected at least two, each once")
    for c in classes.tolist():
        if not 0 <= c < arrays.num_classes:
            raise TlxError(f"class {c}: expected between 0 and {arrays.num_classes - 1}")
        if not np.any(arrays.label_N == c):
            raise TlxError(f"class {c}: split {arrays.split!r} of dataset {arrays.name} has no examples of it")
    number = np.full(arrays.num_classes, -1, np.int32)
    number[classes] = np.arange(len(classes), dtype=np.int32)
    kept = np.flatnonzero(number[arrays.label_N] >= 0)
    input_N, label_N = arrays.input_N[kept], number[arrays.label_N[kept]]
    return replace(arrays, input_N=input_N, label_N=label_N, num_classes=len(classes), digest=digest(input_N, label_N))
