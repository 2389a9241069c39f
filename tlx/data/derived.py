"""Labels that no feature of a TFDS data set holds as it is, made from those that are there.

Source: Zhai et al. (2019), appendix A, and the code published with it (google-research/task_adaptation, data/), for the
classes and the thresholds between them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Upper ends of all classes but the last: units of CLEVR's camera, and metres.
_CLEVR_DISTANCES = (8.0, 8.5, 9.0, 9.5, 10.0)
_KITTI_DISTANCES = (8.0, 20.0)
# KITTI's types below this one are car, van and truck.
_FIRST_NO_VEHICLE = 3
_FEWEST_OBJECTS = 3


@dataclass(frozen=True)
class Derived:
    """A label made from other features.

    Args:
      feature: the one it is made from.
      num_classes: how many classes there are.
      label: from the value of that feature in one example to its class.
    """

    feature: str
    num_classes: int
    label: Callable[[Any], int]


def _clevr_count(objects: Any) -> int:
    """How many objects there are, 3 to 10."""
    return len(_column(objects, "size")) - _FEWEST_OBJECTS


def _clevr_distance(objects: Any) -> int:
    """How far the nearest object is from the camera."""
    return _class_of(float(_column(objects, "pixel_coords")[:, 2].min()), _CLEVR_DISTANCES)


def _kitti_distance(objects: Any) -> int:
    """How far the nearest vehicle is ahead of the camera; the last class is none at all."""
    is_vehicle = _column(objects, "type") < _FIRST_NO_VEHICLE
    if not is_vehicle.any():
        return len(_KITTI_DISTANCES) + 1
    return _class_of(float(_column(objects, "location")[is_vehicle, 2].min()), _KITTI_DISTANCES)


def _grouped(values: int, classes: int) -> Callable[[Any], int]:
    """Neighbouring values in one class, as evenly as they go."""
    return lambda value: int(value) * classes // values


def _class_of(value: float, ends: tuple[float, ...]) -> int:
    """The class of a value; one that is exactly an end belongs to the class that it ends."""
    return int(np.searchsorted(np.array(ends, np.float32), np.float32(value), side="left"))


def _column(objects: Any, name: str) -> np.ndarray:
    """One property of all objects: TFDS gives a dict of lists, or a list of dicts."""
    if isinstance(objects, Mapping):
        return np.asarray(objects[name])
    return np.array([each[name] for each in objects])


DERIVED: dict[str, Derived] = {
    "clevr_count": Derived("objects", 8, _clevr_count),
    "clevr_distance": Derived("objects", 6, _clevr_distance),
    "kitti_distance": Derived("objects", 4, _kitti_distance),
    "dsprites_x": Derived("label_x_position", 16, _grouped(32, 16)),
    "dsprites_orientation": Derived("label_orientation", 16, _grouped(40, 16)),
}
