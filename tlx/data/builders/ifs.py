"""Fractals: a class is some affine maps, an example is points of their attractor.

Shape suffixes: N examples, C classes, M maps, P points, H rows, W columns.
"""

from typing import Any

import numpy as np

from tlx.data.builders.bits import POSES, SHAPES, STROKES, Draws
from tlx.data.builders.canvas import Ink, draw_poses

CLOUD, SHOWN = 2048, 512  # points of a class, and those of them that an example shows
DENSE = 2  # points that fill a pixel of 1/16 of the side
REACH, FULL, GRID = 0.8, 0.25, 16
_TRIES, _WARM, _TOGETHER = 12, 24, 256


def prototype(class_seed: int, number: int, maps: int) -> np.ndarray:
    """Points of one class's attractor, which do not depend on how many classes there are.

    Of a dozen attractors that of the first whose points lie in at least a quarter of 16 x 16 boxes, or the fullest.

    Args:
      class_seed: of all classes.
      number: of this class.
      maps: how many.

    Returns:
      float64 [P, 2]: x and y, the longer side from -0.8 to 0.8.

    Source: Kataoka et al. 2020, "Pre-training without Natural Images" (FractalDB). There, maps that do not contract
    and thin attractors are thrown away, and examples vary by the maps' numbers; here maps are made to contract, and
    examples vary by pose and by which points they show.
    """
    draws, best_P2, best = Draws(class_seed, number, SHAPES), np.zeros((CLOUD, 2)), 0.0
    for _ in range(_TRIES):
        point_P2 = _attractor(draws, maps)
        box_P2 = np.floor((point_P2 + REACH) * (GRID / (2 * REACH))).clip(0, GRID - 1).astype(np.int64)
        share = len(np.unique(box_P2 @ np.array([GRID, 1]))) / GRID**2
        if share > best:
            best_P2, best = point_P2, share
        if best >= FULL:
            break
    return best_P2


def fractals(settings: dict[str, Any], split: int) -> Ink:
    """What draws the examples of a split.

    Args:
      settings: of the data set.
      split: its number.

    Returns:
      Numbers of classes to ink, [N, H, W] from 0 to 1; called again it goes on with the next examples.
    """
    classes = range(settings["first"], settings["first"] + settings["classes"])
    point_CP2 = np.stack([prototype(settings["class_seed"], c, settings["maps"]) for c in classes])
    poses, choices = (Draws(settings["seed"], split, purpose) for purpose in (POSES, STROKES))
    side = settings["side"]

    def ink(class_N: np.ndarray) -> np.ndarray:
        n = len(class_N)
        pose = draw_poses(poses, n, settings["difficulty"])
        chosen_NP = choices.below(CLOUD, n, SHOWN)
        point_NP2 = point_CP2[(class_N - settings["first"])[:, None], chosen_NP]
        x_NP, y_NP = (
            np.floor((to_NP + 1.0) * (side / 2)).astype(np.int64)
            for to_NP in pose.place(point_NP2[..., 0], point_NP2[..., 1])
        )
        seen_NP = (x_NP >= 0) & (x_NP < side) & (y_NP >= 0) & (y_NP < side)
        pixel_NP = (np.arange(n)[:, None] * side + y_NP) * side + x_NP
        count_NHW = np.bincount(pixel_NP[seen_NP], minlength=n * side * side).reshape(n, side, side)
        return np.minimum(count_NHW / max(1.0, DENSE * (GRID / side) ** 2), 1.0)

    return ink


def _attractor(draws: Draws, maps: int) -> np.ndarray:
    """[P, 2], from points that are sent through maps at random, together."""
    linear_M22 = draws.uniform(-1.0, 1.0, maps, 2, 2)
    norm_M = np.abs(linear_M22).max(axis=2).max(axis=1) * 2
    linear_M22 = linear_M22 * (draws.uniform(0.5, 0.9, maps) / norm_M)[:, None, None]
    shift_M2 = draws.uniform(-1.0, 1.0, maps, 2)
    steps = _WARM + CLOUD // _TOGETHER
    map_TP = draws.below(maps, steps, _TOGETHER)
    x_P, y_P, kept = np.zeros(_TOGETHER), np.zeros(_TOGETHER), []
    for map_P in map_TP:
        (a_P, b_P), (c_P, d_P) = linear_M22[map_P].transpose(1, 2, 0)
        x_P, y_P = a_P * x_P + b_P * y_P + shift_M2[map_P, 0], c_P * x_P + d_P * y_P + shift_M2[map_P, 1]
        kept.append(np.stack([x_P, y_P], axis=1))
    point_P2 = np.concatenate(kept[_WARM:])
    low_2, high_2 = point_P2.min(axis=0), point_P2.max(axis=0)
    return (point_P2 - (low_2 + high_2) / 2) * (2 * REACH / (high_2 - low_2).max())
