import math

import pytest

from tlx.measure.stats import Interval, interval
from tlx.report import wording

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (999.6, "1 k"),
        (1234, "1.23 k"),
        (155_000, "155 k"),
        (1.2e8, "120 M"),
        (3.456e12, "3.46 T"),
    ],
)
def test_amounts(value: float | None, text: str) -> None:
    assert wording.amount(value) == text


def test_amounts_with_a_unit() -> None:
    assert (wording.amount(12, "B"), wording.amount(9876, "B")) == ("12 B", "9.88 kB")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.042, "0.042 s"),
        (1.23, "1.2 s"),
        (42.4, "42 s"),
        (99.6, "1.7 min"),
        (5969, "99.5 min"),
        (9000, "2.5 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "–"), (0.0, "0 %"), (0.0042, "0.42 %"), (0.4526, "45.3 %"), (1.0, "100 %")]
)
def test_percentages(share: float | None, text: str) -> None:
    assert wording.percent(share) == text


def test_accuracies_say_how_sure_they_are() -> None:
    assert wording.score(Interval(0.8, NAN, NAN, 2, "none")) == "80.0"
    assert wording.score(Interval(0.8, 0.771, 0.829, 5, "t")) == "80.0 ± 2.9"
    assert wording.score(Interval(0.8, 0.75, 0.82, 12, "bca")) == "80.0 [75.0, 82.0]"
    assert wording.score(Interval(0.8, 0.75, 0.82, 12, "percentile")) == "80.0 [75.0, 82.0]"
    assert wording.score(interval([])) == "–"


def test_gains_have_a_sign_and_no_negative_zero() -> None:
    assert wording.gain(Interval(0.2914, 0.249, 0.3331, 5, "t")) == "+29.1 [24.9, 33.3]"
    assert wording.gain(Interval(-0.0001, -0.0004, 0.0002, 5, "t")) == "+0.0 [0.0, 0.0]"
    assert wording.gain(Interval(-0.05, NAN, NAN, 1, "none")) == "-5.0"
    assert wording.gain(interval([])) == "–"


def test_spans() -> None:
    assert wording.span([3.0, None, 1.0], wording.duration) == "1 s to 3 s"
    assert wording.span([1.01, 1.02], wording.duration) == "1 s"
    assert wording.span([None], wording.duration) == "–"
