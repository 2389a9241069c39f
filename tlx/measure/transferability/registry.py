"""Estimators by name: the one way from a config's text to a formula."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tlx.measure.transferability import (
    constant,
    etran,
    gbc,
    h_score,
    knn,
    leep,
    lfc,
    logme,
    nce,
    nleep,
    parc,
    sfda,
    task2vec,
    transrate,
)

# What an estimator may need, in the words that reasons use.
FEATURES, PROBABILITIES, LABELS = "features", "source probabilities", "labels"
SOURCE_FISHER, TARGET_FISHER = "a Fisher embedding of the source", "a Fisher embedding of the target"
PARAMETERS, ACCURACY = "a parameter count", "a source accuracy"
NEEDS = (FEATURES, PROBABILITIES, LABELS, SOURCE_FISHER, TARGET_FISHER, PARAMETERS, ACCURACY)

Range = Callable[[int], tuple[float, float]]


@dataclass(frozen=True)
class Estimator:
    """A registered estimator; higher is better.

    Args:
      name: key of `ESTIMATORS`.
      function: of what it needs, in that order, to one number.
      needs: of `NEEDS`.
      range: the target's number of classes to the lowest and the highest value.
      version: raised when a change alters its numbers.
    """

    name: str
    function: Callable[..., Any]
    needs: tuple[str, ...]
    range: Range
    version: int = 1

    def score(self, given: Mapping[str, Any]) -> float:
        """The estimate for one source and target.

        Args:
          given: what there is, by need; more does not matter.

        Returns:
          A finite number.

        Raises:
          ValueError: something it needs is missing or not fit for it, or the result is not finite; in one line.
        """
        if missing := [need for need in self.needs if given.get(need) is None]:
            raise ValueError(f"needs {' and '.join(missing)}")
        value = float(self.function(*(given[need] for need in self.needs)))
        if not math.isfinite(value):
            raise ValueError(f"is {value} here")
        return value


def _of(*estimators: Estimator) -> dict[str, Estimator]:
    return {estimator.name: estimator for estimator in estimators}


_SEEN, _GUESSED = (FEATURES, LABELS), (PROBABILITIES, LABELS)
_ANY: Range = lambda classes: (-math.inf, math.inf)  # noqa: E731
_SHARE: Range = lambda classes: (0.0, 1.0)  # noqa: E731
_LOG: Range = lambda classes: (-math.inf, 0.0)  # noqa: E731
_OVERLAP: Range = lambda classes: (-classes * (classes - 1.0), 0.0)  # noqa: E731

ESTIMATORS: dict[str, Estimator] = _of(
    Estimator("leep", leep.leep, _GUESSED, _LOG),
    Estimator("nce", nce.nce, _GUESSED, lambda classes: (-math.log(classes), 0.0)),
    Estimator("nleep", nleep.nleep, _SEEN, _LOG),
    Estimator("logme", logme.logme, _SEEN, _ANY),
    Estimator("h_score", h_score.h_score, _SEEN, lambda classes: (0.0, classes - 1.0)),
    Estimator("shrunk_h_score", h_score.shrunk_h_score, _SEEN, lambda classes: (0.0, math.inf)),
    Estimator("gbc", gbc.gbc, _SEEN, _OVERLAP),
    Estimator("gbc_diagonal", partial(gbc.gbc, spherical=False), _SEEN, _OVERLAP),
    Estimator("transrate", transrate.transrate, _SEEN, _ANY),
    Estimator("parc", parc.parc, _SEEN, lambda classes: (-100.0, 100.0)),
    Estimator("lfc", lfc.lfc, _SEEN, lambda classes: (-1.0, 1.0)),
    Estimator("sfda", sfda.sfda, _SEEN, _SHARE),
    Estimator("etran_discriminant", etran.etran_discriminant, _SEEN, _SHARE),
    Estimator("etran_energy", etran.etran_energy, (FEATURES,), _ANY),
    Estimator("knn_1", knn.knn, _SEEN, _SHARE),
    Estimator("knn_5", partial(knn.knn, neighbours=5), _SEEN, _SHARE),
    Estimator("task2vec", task2vec.task2vec, (SOURCE_FISHER, TARGET_FISHER), lambda classes: (-1.0, 0.0)),
    Estimator("parameter_count", constant.parameter_count, (PARAMETERS,), lambda classes: (1.0, math.inf)),
    Estimator("source_accuracy", constant.source_accuracy, (ACCURACY,), _SHARE),
)
