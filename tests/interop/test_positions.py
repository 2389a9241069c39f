"""Positions on another grid, against PyTorch's numbers and scipy."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage

from tlx.errors import ConfigError
from tlx.interop.positions import cubic, cubic_antialiased, linear, resize

# Along the rows of a grid that is one at a single row, by PyTorch 2.13's `interpolate` with mode "bicubic".
GOLDEN = {
    (cubic, 3, 5): [
        [1.0960001, -0.096, 0.0],
        [0.6119997, 0.46, -0.0719998],
        [0.0, 1.0, 0.0],
        [-0.0719998, 0.4599998, 0.6120001],
        [0.0, -0.096, 1.0960002],
    ],
    (cubic, 5, 3): [
        [0.6851851, 0.3703704, -0.0555553, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, -0.0555558, 0.3703706, 0.685185],
    ],
    (cubic_antialiased, 3, 5): [
        [1.0754715, -0.0754717, 0.0],
        [0.6492537, 0.3955224, -0.0447761],
        [0.0, 0.9999999, 0.0],
        [-0.0447761, 0.3955222, 0.6492538],
        [0.0, -0.0754717, 1.0754715],
    ],
    (cubic_antialiased, 5, 3): [
        [0.5846153, 0.4461538, 0.0, -0.0307692, 0.0],
        [-0.0372093, 0.2465116, 0.5813953, 0.2465116, -0.0372093],
        [0.0, -0.0307691, 0.0, 0.4461538, 0.5846152],
    ],
}


@pytest.mark.parametrize(("weights", "old", "new"), GOLDEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_cubic_weights_are_pytorch_s(weights: Callable[[int, int], np.ndarray], old: int, new: int) -> None:
    np.testing.assert_allclose(weights(old, new), GOLDEN[weights, old, new], atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(3, 7), (7, 3), (4, 5), (2, 1), (1, 3)])
def test_linear_is_scipy_s_zoom(old: int, new: int) -> None:
    grid = np.random.default_rng(0).normal(size=(old, old, 2))
    found = np.einsum("nh,mw,hwd->nmd", linear(old, new), linear(old, new), grid)
    np.testing.assert_allclose(found, scipy.ndimage.zoom(grid, (new / old, new / old, 1), order=1), atol=1e-6)


@pytest.mark.parametrize("weights", [cubic, cubic_antialiased, linear])
@pytest.mark.parametrize("new", [2, 4, 9])
def test_a_flat_grid_stays_flat_and_a_grid_of_its_own_size_stays(
    weights: Callable[[int, int], np.ndarray], new: int
) -> None:
    np.testing.assert_allclose(weights(4, new).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(weights(new, new), np.eye(new), atol=1e-12)


def test_what_leads_stays_and_rows_stay_rows() -> None:
    position_1TD = np.random.default_rng(0).normal(size=(1, 1 + 9, 2)).astype(np.float32)
    found = resize(cubic, leading=1)(position_1TD, (1, 1 + 25, 2))
    assert found.shape == (1, 26, 2) and found.dtype == np.float32
    assert np.array_equal(found[:, 0], position_1TD[:, 0])
    w = cubic(3, 5)
    expected = sum(w[1, h] * w[3, v] * position_1TD[0, 1 + 3 * h + v] for h in range(3) for v in range(3))
    np.testing.assert_allclose(found[0, 1 + 5 * 1 + 3], expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(9, 8), (8, 9), (9, 0)])
def test_grids_that_are_no_squares(old: int, new: int) -> None:
    patches = 8 if 8 in (old, new) else 0
    with pytest.raises(ConfigError, match=f"^resize: positions of {patches} patches form no square"):
        resize(cubic, leading=0)(np.zeros((1, old, 2)), (1, new, 2))
