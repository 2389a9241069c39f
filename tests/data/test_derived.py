"""Labels that are made: classes at, below and above every threshold, in either form that TFDS gives objects in."""

import numpy as np
import pytest

from tlx.data.derived import DERIVED


def objects(**columns: object) -> dict[str, np.ndarray]:
    return {name: np.array(values, np.float32) for name, values in columns.items()}


def listed(columns: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    size = len(next(iter(columns.values())))
    return [{name: values[i] for name, values in columns.items()} for i in range(size)]


def both(name: str, columns: dict[str, np.ndarray]) -> int:
    """The class, the same from a dict of lists and a list of dicts."""
    found = DERIVED[name].label(columns)
    assert DERIVED[name].label(listed(columns)) == found
    assert 0 <= found < DERIVED[name].num_classes
    return found


@pytest.mark.parametrize(("count", "expected"), [(3, 0), (7, 4), (10, 7)])
def test_objects_are_counted_from_three(count: int, expected: int) -> None:
    assert both("clevr_count", objects(size=[0] * count)) == expected


@pytest.mark.parametrize(
    ("nearest", "expected"),
    [(7.9, 0), (8.0, 0), (8.1, 1), (8.5, 1), (8.75, 2), (9.25, 3), (9.5, 3), (9.75, 4), (10.0, 4), (10.1, 5)],
)
def test_the_nearest_object_counts(nearest: float, expected: int) -> None:
    assert both("clevr_distance", objects(pixel_coords=[[1, 2, 12.0], [9, 9, nearest], [0, 0, 11]])) == expected


@pytest.mark.parametrize(
    ("kind", "ahead", "expected"),
    [
        ([0], [1.0], 0),
        ([0], [8.0], 0),
        ([1], [10.0], 1),
        ([2], [20.0], 1),
        ([2], [30.0], 2),
        ([3], [1.0], 3),
        ([4, 5], [1.0, 2.0], 3),
        ([0, 1], [30.0, 1.0], 0),
        ([5, 0], [1.0, 9.0], 1),
    ],
)
def test_the_nearest_vehicle_counts(kind: list[int], ahead: list[float], expected: int) -> None:
    assert both("kitti_distance", objects(type=kind, location=[[0, 0, z] for z in ahead])) == expected


def test_a_street_without_anything_has_no_vehicle() -> None:
    assert DERIVED["kitti_distance"].label([]) == 3


def test_positions_are_paired() -> None:
    assert [DERIVED["dsprites_x"].label(x) for x in range(32)] == [i for i in range(16) for _ in range(2)]


def test_orientations_are_grouped_by_two_and_three() -> None:
    found = [DERIVED["dsprites_orientation"].label(np.int64(x)) for x in range(40)]
    assert found == [int(x // 2.5) for x in range(40)]
    assert np.bincount(found).tolist() == [3, 2] * 8
