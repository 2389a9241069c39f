import math

import numpy as np
import pytest

from tlx.measure.samples import constant, finite, unrounded


def test_a_sample_is_finite_and_in_one_dimension() -> None:
    np.testing.assert_array_equal(finite([1, 2, 3], 3), [1.0, 2.0, 3.0])
    assert finite([], 0).size == 0


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [[1.0]], 1.0, []])
def test_what_is_no_sample_is_refused_by_name(bad: object) -> None:
    with pytest.raises(ValueError, match=r"^scores: expected at least 1 finite values in one dimension, got "):
        finite(bad, 1, "scores")


def test_equal_but_for_rounding() -> None:
    assert constant(np.array([0.1, 0.1])) and constant(np.array([0.8 - 0.7, 0.9 - 0.8]))
    assert not constant(np.array([0.1, 0.1 + 1e-9]))


def test_unrounding_joins_what_is_equal_on_paper() -> None:
    assert np.unique(unrounded(np.array([0.8 - 0.7, 0.9 - 0.8, 0.1]))).tolist() == [0.1]
    assert np.unique(unrounded(np.array([0.1, 0.1 + 1e-9]))).size == 2
