"""Baselines that do not look at the target."""

import math

import pytest

from tlx.measure.transferability.constant import parameter_count, source_accuracy


def test_they_are_what_they_are_given() -> None:
    assert (parameter_count(25), source_accuracy(0.0), source_accuracy(1.0)) == (25.0, 0.0, 1.0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="^parameters: expected at least 1, got 0$"):
        parameter_count(0)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="^accuracy: expected a share from 0 to 1, got "):
            source_accuracy(bad)
