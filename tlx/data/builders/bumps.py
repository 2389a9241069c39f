"""Blobs: a class is some round, soft bumps; nothing in it has the edges and directions that strokes have.

Shape suffixes: N examples, C classes, K bumps, H rows, W columns.
"""

from typing import Any

import numpy as np

from tlx.data.builders.bits import POSES, SHAPES, Draws
from tlx.data.builders.canvas import Ink, centres, draw_poses

REACH = 0.75  # of the bumps' middles
NARROW, BROAD, FAINT, STRONG = 0.12, 0.3, 0.5, 1.0  # standard deviations and heights
_HALVINGS = 3


def prototype(class_seed: int, number: int, bumps: int) -> np.ndarray:
    """The bumps of one class, which do not depend on how many classes there are.

    Args:
      class_seed: of all classes.
      number: of this class.
      bumps: how many.

    Returns:
      float64 [K, 4]: x, y, standard deviation, height.
    """
    share_K4 = Draws(class_seed, number, SHAPES).uniform(0.0, 1.0, bumps, 4)
    low, high = np.array([-REACH, -REACH, NARROW, FAINT]), np.array([REACH, REACH, BROAD, STRONG])
    return low + (high - low) * share_K4


def bumps(settings: dict[str, Any], split: int) -> Ink:
    """What draws the examples of a split.

    Args:
      settings: of the data set.
      split: its number.

    Returns:
      Numbers of classes to ink, [N, H, W] from 0 to 1; called again it goes on with the next examples.
    """
    classes = range(settings["first"], settings["first"] + settings["classes"])
    bump_CK4 = np.stack([prototype(settings["class_seed"], c, settings["bumps"]) for c in classes])
    poses, centre_W = Draws(settings["seed"], split, POSES), centres(settings["side"])

    def ink(class_N: np.ndarray) -> np.ndarray:
        pose = draw_poses(poses, len(class_N), settings["difficulty"])
        bump_NK4 = bump_CK4[class_N - settings["first"]]
        x_NK, y_NK = pose.place(bump_NK4[..., 0], bump_NK4[..., 1])
        ink_NHW = np.zeros((len(class_N), settings["side"], settings["side"]))
        for k in range(settings["bumps"]):
            std_N1 = (bump_NK4[:, k, 2] * pose.scale_N)[:, None]
            x_NW, y_NH = (_bell((centre_W - to_NK[:, k, None]) / std_N1) for to_NK in (x_NK, y_NK))
            ink_NHW = ink_NHW + (bump_NK4[:, k, 3, None] * y_NH)[:, :, None] * x_NW[:, None, :]
        return np.minimum(ink_NHW, 1.0)

    return ink


def _bell(z: np.ndarray) -> np.ndarray:
    """Nearly exp(-z² / 2), as (1 - z² / 16)⁸, which needs no exponential; 0 where |z| ≥ 4."""
    bell = np.maximum(1.0 - z * z / 16.0, 0.0)
    for _ in range(_HALVINGS):
        bell = bell * bell
    return bell
