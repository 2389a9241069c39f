"""What every estimator promises to a study and to a report."""

import math
from typing import Any

import numpy as np
import pytest
from golden_transfer import C, everything, golden, hard

from tlx.measure.transferability.registry import ESTIMATORS, FEATURES, LABELS, NEEDS, PROBABILITIES

NAMES = sorted(ESTIMATORS)
LOOKING = [name for name in NAMES if LABELS in ESTIMATORS[name].needs]
FEELING = [name for name in NAMES if FEATURES in ESTIMATORS[name].needs]


def score(name: str, **changed: Any) -> float:
    given = everything(*golden())
    return ESTIMATORS[name].score({**given, **{need.replace("_", " "): value for need, value in changed.items()}})


@pytest.mark.parametrize("name", NAMES)
def test_a_finite_number_in_its_range(name: str) -> None:
    low, high = ESTIMATORS[name].range(C)
    value = score(name)
    assert type(value) is float and low - 1e-12 <= value <= high + 1e-12
    assert score(name) == value, "the same bits every time"


@pytest.mark.parametrize("name", NAMES)
def test_it_says_who_it_is_and_what_it_lacks(name: str) -> None:
    estimator = ESTIMATORS[name]
    assert estimator.name == name and estimator.version >= 1 and set(estimator.needs) <= set(NEEDS)
    with pytest.raises(ValueError) as caught:
        estimator.score({})
    assert str(caught.value) == f"needs {' and '.join(estimator.needs)}"


@pytest.mark.parametrize("name", LOOKING)
def test_the_order_of_the_examples_does_not_count(name: str) -> None:
    feature_ND, label_N = hard()
    share_NZ = np.random.default_rng(1).dirichlet(np.ones(5), size=60)
    order_N = np.random.default_rng(2).permutation(60)
    one = score(name, features=feature_ND, labels=label_N, source_probabilities=share_NZ)
    other = score(name, features=feature_ND[order_N], labels=label_N[order_N], source_probabilities=share_NZ[order_N])
    assert other == pytest.approx(one, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", LOOKING)
def test_the_names_of_the_classes_do_not_count(name: str) -> None:
    label_N = golden()[1]
    renamed_N = np.array([40, 7, 11])[label_N]
    assert score(name, labels=renamed_N) == pytest.approx(score(name), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", LOOKING)
def test_a_class_with_one_example_is_no_trouble(name: str) -> None:
    _, label_N, _ = golden()
    alone_N = np.where((label_N == 2) & (np.arange(60) != 2), 0, label_N)
    assert np.bincount(alone_N).tolist() == [39, 20, 1]
    assert math.isfinite(score(name, labels=alone_N))


@pytest.mark.parametrize("name", LOOKING)
def test_a_single_class_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^labels: expected at least two classes$"):
        score(name, labels=np.zeros(60, np.int64))


@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize("labels", [np.arange(59), np.zeros((60, 1), np.int64), np.zeros(60)])
def test_labels_of_another_form_are_refused(name: str, labels: np.ndarray) -> None:
    expected = f"labels: expected 60 integers, got {labels.dtype} of shape {labels.shape}"
    with pytest.raises(ValueError) as caught:
        score(name, labels=labels)
    assert str(caught.value) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", FEELING)
def test_features_that_are_no_numbers_are_refused(name: str, bad: float) -> None:
    feature_ND = golden()[0].copy()
    feature_ND[3, 2] = bad
    with pytest.raises(ValueError, match="^features: expected finite numbers$"):
        score(name, features=feature_ND)


@pytest.mark.parametrize("name", FEELING)
def test_features_that_tell_nothing_or_have_no_shape_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^features: all examples have the same, so nothing can be told from them$"):
        score(name, features=np.ones((60, 8)))
    for shape in ((60,), (0, 8), (60, 0), (2, 2, 60, 8)):
        with pytest.raises(ValueError) as caught:
            score(name, features=np.ones(shape))
        assert str(caught.value) == (
            f"features: expected an array [N, ...] or [S, N, ...] that is not empty, got shape {shape}"
        )


@pytest.mark.parametrize("name", [name for name in NAMES if PROBABILITIES in ESTIMATORS[name].needs])
def test_what_is_no_distribution_is_refused(name: str) -> None:
    share_NZ = golden()[2]
    for bad in (2 * share_NZ, -share_NZ, share_NZ - 1):
        with pytest.raises(ValueError, match="^probabilities: expected rows that are not negative and sum to 1$"):
            score(name, source_probabilities=bad)
    with pytest.raises(ValueError, match="^probabilities: expected finite numbers$"):
        score(name, source_probabilities=share_NZ * math.nan)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.thorough] * (n == "nleep")) for n in LOOKING])
def test_several_sources_at_once_are_each_as_alone(name: str) -> None:
    feature_ND, label_N, share_NZ = golden()
    draw = np.random.default_rng(3)
    several = {
        FEATURES: np.stack([feature_ND, draw.normal(size=feature_ND.shape)]),
        PROBABILITIES: np.stack([share_NZ, draw.dirichlet(np.ones(5), size=60)]),
        LABELS: label_N,
    }
    estimator = ESTIMATORS[name]
    together_S = estimator.function(*(several[need] for need in estimator.needs))
    assert together_S.shape == (2,) and together_S.dtype == np.float64
    for i in range(2):
        alone = estimator.function(*(several[need] if need == LABELS else several[need][i] for need in estimator.needs))
        assert together_S[i] == pytest.approx(float(alone), rel=1e-9, abs=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", FEELING)
def test_more_features_than_examples_are_no_trouble(name: str) -> None:
    feature_ND, label_N = hard(examples=12, features=30, classes=3)
    assert math.isfinite(score(name, features=feature_ND.astype(np.float32), labels=label_N.astype(np.int32)))


def test_a_result_that_is_not_finite_is_refused() -> None:
    estimator = ESTIMATORS["etran_energy"]
    broken = type(estimator)("broken", lambda x: math.inf, (FEATURES,), estimator.range)
    with pytest.raises(ValueError, match="^is inf here$"):
        broken.score({FEATURES: 1})
