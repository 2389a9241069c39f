import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.bound import UNKNOWN, Bound
from tlx.measure.curves import Curve, area_gain, area_under, asymptotic_gain, jumpstart, steps_saved, transfer_ratio

STEPS = (10.0, 20.0, 40.0, 80.0)
SLOW = Curve(STEPS, (0.1, 0.2, 0.4, 0.8))
QUICK = Curve(STEPS, (0.5, 0.6, 0.7, 0.8))

heights = st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(tuple)


def test_areas_by_hand() -> None:
    """Steps double, so every trapezoid is as wide: means of neighbours 0.15, 0.3, 0.6."""
    assert area_under(SLOW) == pytest.approx(0.35)
    assert area_under(QUICK) == pytest.approx(0.65)
    assert area_gain(QUICK, SLOW) == pytest.approx(0.3)
    assert transfer_ratio(QUICK, SLOW) == pytest.approx(0.3 / 0.35)


def test_a_logarithmic_curve_has_the_area_of_its_middle() -> None:
    steps = np.geomspace(1, 1000, 7)
    assert area_under(Curve(tuple(steps), tuple(0.1 * np.log10(steps)))) == pytest.approx(0.15)


def test_areas_are_over_log_steps() -> None:
    early, late = Curve((1, 10, 100), (0.0, 1.0, 1.0)), Curve((1, 90, 100), (0.0, 1.0, 1.0))
    assert area_under(early) == pytest.approx(0.75)
    assert area_under(late) == pytest.approx(1 - math.log(90) / (2 * math.log(100)))


@settings(max_examples=40, deadline=None)
@given(scores=heights, shift=st.floats(-1, 1), unit=st.floats(0.1, 10))
def test_areas_move_with_the_scores_and_not_with_the_unit_of_steps(
    scores: tuple[float, ...], shift: float, unit: float
) -> None:
    area = area_under(Curve(STEPS, scores))
    assert min(scores) - 1e-9 <= area <= max(scores) + 1e-9
    assert area_under(Curve(STEPS, tuple(score + shift for score in scores))) == pytest.approx(area + shift, abs=1e-9)
    assert area_under(Curve(tuple(unit * step for step in STEPS), scores)) == pytest.approx(area, abs=1e-9)
    assert area_gain(Curve(STEPS, scores), Curve(STEPS, scores)) == 0


def test_begin_and_end() -> None:
    assert jumpstart(QUICK, SLOW) == pytest.approx(0.4)
    assert asymptotic_gain(QUICK, SLOW) == 0.0
    assert asymptotic_gain(SLOW, QUICK) == 0.0 and jumpstart(SLOW, QUICK) == pytest.approx(-0.4)


def test_time_to_a_score() -> None:
    steps = (10.0, 20.0, 30.0, 40.0, 50.0)
    slow, quick = Curve(steps, (0.1, 0.2, 0.6, 0.6, 0.6)), Curve(steps, (0.6, 0.6, 0.7, 0.8, 0.8))
    assert steps_saved(quick, slow, 0.55) == Bound(20.0)
    assert steps_saved(slow, quick, 0.55) == Bound(-20.0)
    assert steps_saved(quick, slow, 0.7) == Bound(20.0, ">")
    assert steps_saved(slow, quick, 0.7) == Bound(-20.0, "<")
    assert steps_saved(quick, slow, 0.9) == UNKNOWN


def test_one_evaluation_has_no_area() -> None:
    one = Curve((10.0,), (0.5,))
    assert math.isnan(area_under(one)) and math.isnan(transfer_ratio(one, one))
    assert jumpstart(one, one) == asymptotic_gain(one, one) == 0.0


def test_a_missing_score_stays_missing() -> None:
    assert math.isnan(area_under(Curve((1, 2), (math.nan, 0.5))))


def test_a_ratio_to_nothing_is_undefined() -> None:
    nothing = Curve(STEPS, (0.0,) * 4)
    assert math.isnan(transfer_ratio(QUICK, nothing))
    assert math.isnan(transfer_ratio(QUICK, Curve(STEPS, (-0.5,) * 4)))


@pytest.mark.parametrize("measure", [area_gain, jumpstart, asymptotic_gain, transfer_ratio])
def test_different_grids_are_refused(measure: object) -> None:
    with pytest.raises(ValueError, match="steps: expected both curves to be evaluated at the same steps"):
        measure(QUICK, Curve((10.0, 20.0, 40.0), (0.1, 0.2, 0.3)))


@pytest.mark.parametrize(
    ("steps", "scores", "message"),
    [
        ((), (), "steps: expected positive and rising numbers, at least one"),
        ((0, 1), (0.1, 0.2), "steps: expected positive and rising"),
        ((2, 1), (0.1, 0.2), "steps: expected positive and rising"),
        ((1, 2), (0.1,), "scores: expected 2, one for each step, got 1"),
    ],
)
def test_what_is_no_curve_cannot_be_made(steps: tuple[float, ...], scores: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve(steps, scores)
