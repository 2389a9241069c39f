"""What a linear map can read from a layer, and how much of that is the probe's own doing.

Shape suffixes: N examples, D features, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlx.linear.logistic import logistic_path

# λ on features of mean square 1.
PENALTIES = tuple(float(10.0**power) for power in range(-5, 2))
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Features of one layer and what is to be read from them.

    Args:
      x_ND: features.
      label_N: integers.
      type_N: integers; examples of one type have one control label. None for a type of its own for each example.
    """

    x_ND: NDArray[np.floating]
    label_N: Integers
    type_N: Integers | None = None


@dataclass(frozen=True)
class Probe:
    """A probe of a layer.

    Args:
      penalty: λ that was chosen, on features of mean square 1.
      accuracy: on the test examples.
      control: of the same probe on the control task.
      selectivity: the first less the second.
    """

    penalty: float
    accuracy: float
    control: float
    selectivity: float


def probe(
    train: Split, validation: Split, test: Split, rng: np.random.Generator, penalties: Sequence[float] = PENALTIES
) -> Probe:
    """Probe a layer by logistic regression, with an L2 penalty of the layer's own.

    The penalty is chosen on the validation examples, the largest of equals; the probe is scored on the test examples,
    once. The control task has random labels, as often as the true ones, for the same features and penalty. Where there
    are types it is scored on the test examples, whose types were seen in training; where every example is of a type of
    its own nothing but the training examples can be right, and it is scored on those: what the probe can memorise.

    Args:
      train: what the probe is fitted to.
      validation: what the penalty is chosen on.
      test: what it is scored on.
      rng: draws the control labels.
      penalties: λ above 0 to choose from, on features of mean square 1.

    Returns:
      The probe.

    Raises:
      ValueError: if a split is empty, widths differ, a value is not finite, or only some of the splits have types.

    Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes"; Hewitt and Liang
      2019, "Designing and interpreting probes with control tasks", section 2, whose types are words.
    """
    _check(train, validation, test)
    mean_D = train.x_ND.mean(axis=0, dtype=np.float64)
    unit = float(np.sqrt(np.mean(np.square(train.x_ND - mean_D)))) or 1.0
    xs = [(np.asarray(split.x_ND, np.float64) - mean_D) / unit for split in (train, validation, test)]
    right = [_accuracy(xs[0], train.label_N, xs[1], validation.label_N, (each,)) for each in penalties]
    penalty = max(zip(right, penalties, strict=True))[1]
    accuracy = _accuracy(xs[0], train.label_N, xs[2], test.label_N, (penalty,))
    if train.type_N is None:
        drawn_N = rng.permutation(train.label_N)
        control = _accuracy(xs[0], drawn_N, xs[0], drawn_N, (penalty,))
    else:
        assert test.type_N is not None  # checked
        made = control_labels(np.concatenate([train.type_N, test.type_N]), train.label_N, rng)
        control = _accuracy(xs[0], made[: len(xs[0])], xs[2], made[len(xs[0]) :], (penalty,))
    return Probe(penalty, accuracy, control, accuracy - control)


def probe_layers(
    layers: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    labels: tuple[ArrayLike, ArrayLike, ArrayLike],
    seed: int,
    penalties: Sequence[float] = PENALTIES,
) -> dict[str, Probe]:
    """Probe every layer alike: the same control labels, and for each a penalty of its own.

    Args:
      layers: by name, features of the training, validation and test examples, [N, D] each.
      labels: of the same examples.
      seed: of the control labels.
      penalties: as for `probe`.

    Returns:
      Layer to probe.

    Raises:
      ValueError: as for `probe`.
    """
    found = {}
    for name, features in layers.items():
        splits = [Split(np.asarray(x), np.asarray(y)) for x, y in zip(features, labels, strict=True)]
        found[name] = probe(splits[0], splits[1], splits[2], np.random.default_rng(seed), penalties)
    return found


def control_labels(type_N: ArrayLike, label_N: ArrayLike, rng: np.random.Generator) -> Integers:
    """Random labels that are a function of an example's type.

    Args:
      type_N: integers.
      label_N: the labels whose shares the random ones are drawn with.
      rng: draws them.

    Returns:
      [N] labels.

    Source: Hewitt and Liang 2019, section 2.1.
    """
    types, position_N = np.unique(np.asarray(type_N), return_inverse=True)
    made: Integers = rng.choice(np.asarray(label_N), len(types))[position_N]
    return made


def _accuracy(
    x_ND: NDArray[np.float64],
    label_N: Integers,
    of_x_ND: NDArray[np.float64],
    of_label_N: Integers,
    penalties: Sequence[float],
) -> float:
    classes, index_N = np.unique(label_N, return_inverse=True)
    if len(classes) == 1:
        return float(np.mean(of_label_N == classes[0]))
    found = logistic_path(x_ND, np.eye(len(classes))[index_N], penalties)
    guess_N = classes[(of_x_ND @ found.kernel_LDC[0] + found.bias_LC[0]).argmax(axis=1)]
    return float(np.mean(guess_N == of_label_N))


def _check(*splits: Split) -> None:
    widths = {split.x_ND.shape[1] for split in splits if split.x_ND.ndim == 2}
    for name, split in zip(("train", "validation", "test"), splits, strict=True):
        x, size = split.x_ND, len(split.label_N)
        if x.ndim != 2 or not size or len(x) != size or len(widths) != 1 or not np.all(np.isfinite(x)):
            shape = list(x.shape)
            raise ValueError(f"{name}: expected finite features of {size} examples, at least one, got {shape}")
        if (split.type_N is None) != (splits[0].type_N is None):
            raise ValueError(f"{name}: expected types for all splits, or for none")
