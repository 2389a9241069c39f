import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.multiplicity import benjamini_hochberg, holm

PS = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_holm_by_hand() -> None:
    # sorted 0.005 0.01 0.03 0.04 times 4 3 2 1, never falling
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_benjamini_hochbergs_own_example() -> None:
    # table 1 of 1995: of 15 p-values the first four are rejected at q = 0.05, by Holm three
    p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0,
    ]  # fmt: skip
    adjusted = benjamini_hochberg(p)
    assert (adjusted <= 0.05).sum() == 4
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    assert (holm(p) <= 0.05).sum() == 3


@given(PS)
@settings(max_examples=40, deadline=None)
def test_adjusting_keeps_the_order_and_never_helps(p: list[float]) -> None:
    for adjusted in (holm(p), benjamini_hochberg(p)):
        order = np.argsort(p, kind="stable")
        assert np.all(np.diff(adjusted[order]) >= -1e-12)
        assert np.all(adjusted >= np.array(p) - 1e-12) and np.all(adjusted <= 1)
    assert np.all(holm(p) >= benjamini_hochberg(p) - 1e-12)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_missing_tests_do_not_count(adjust: object) -> None:
    assert callable(adjust)
    found = adjust([0.01, math.nan, 0.03])
    np.testing.assert_allclose(found, [0.02, math.nan, 0.03])
    assert adjust([]).size == 0
    assert np.isnan(adjust([math.nan])).all()
    assert adjust([0.3]).tolist() == [0.3]


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("bad", [[-0.1], [1.1], [[0.5]]])
def test_what_is_no_p_value_is_refused(adjust: object, bad: list[float]) -> None:
    assert callable(adjust)
    with pytest.raises(ValueError, match="p: expected p-values between 0 and 1"):
        adjust(bad)
