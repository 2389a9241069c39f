import math

import numpy as np

from tlx.measure.forgetting import forgetting


def test_what_is_lost_on_the_source() -> None:
    np.testing.assert_allclose(forgetting([0.9, 0.9], [0.8, 0.95]), [0.1, -0.05])
    assert forgetting(0.5, 0.5) == 0.0
    assert np.isnan(forgetting(0.9, math.nan))
