"""Glyphs: a class is some straight strokes, an example is them as another hand would draw them.

Shape suffixes: N examples, C classes, S strokes, H rows, W columns.
"""

from typing import Any

import numpy as np

from tlx.data.builders.bits import POSES, SHAPES, STROKES, Draws
from tlx.data.builders.canvas import Ink, centres, draw_poses

REACH, SHORTEST = 0.8, 0.6  # strokes end at most this far from the middle and are at least this long
THIN, THICK = 0.08, 0.16  # half of a stroke's width
_TRIES = 8


def prototype(class_seed: int, number: int, segments: int) -> np.ndarray:
    """The strokes of one class, which do not depend on how many classes there are.

    Args:
      class_seed: of all classes.
      number: of this class.
      segments: how many strokes.

    Returns:
      float64 [S, 4]: x and y of one end, x and y of the other.
    """
    end_ST4 = Draws(class_seed, number, SHAPES).uniform(-REACH, REACH, segments, _TRIES, 4)
    x_ST, y_ST = end_ST4[..., 2] - end_ST4[..., 0], end_ST4[..., 3] - end_ST4[..., 1]
    long_ST = x_ST * x_ST + y_ST * y_ST >= SHORTEST * SHORTEST
    return end_ST4[np.arange(segments), np.argmax(long_ST, axis=1)]


def strokes(settings: dict[str, Any], split: int) -> Ink:
    """What draws the examples of a split.

    Args:
      settings: of the data set.
      split: its number.

    Returns:
      Numbers of classes to ink, [N, H, W] from 0 to 1; called again it goes on with the next examples.
    """
    classes = range(settings["first"], settings["first"] + settings["classes"])
    end_CS4 = np.stack([prototype(settings["class_seed"], c, settings["segments"]) for c in classes])
    poses, widths = (Draws(settings["seed"], split, purpose) for purpose in (POSES, STROKES))

    def ink(class_N: np.ndarray) -> np.ndarray:
        pose = draw_poses(poses, len(class_N), settings["difficulty"])
        end_NS4 = end_CS4[class_N - settings["first"]]
        ends = *pose.place(end_NS4[..., 0], end_NS4[..., 1]), *pose.place(end_NS4[..., 2], end_NS4[..., 3])
        near_NHW = np.sqrt(np.maximum(_nearest(*ends, settings["side"]), 0.0))
        half_N = widths.uniform(THIN, THICK, len(class_N))
        # A pixel at the edge has as much ink as the share of it that is covered, about.
        return np.clip((half_N[:, None, None] - near_NHW) * (settings["side"] / 2) + 0.5, 0.0, 1.0)

    return ink


def _nearest(x_NS: np.ndarray, y_NS: np.ndarray, to_x_NS: np.ndarray, to_y_NS: np.ndarray, side: int) -> np.ndarray:
    """Squared distance of each pixel's centre to the nearest stroke, [N, H, W]."""
    centre_W = centres(side)
    best_NHW = np.full((len(x_NS), side, side), np.inf)
    for s in range(x_NS.shape[1]):
        dx_N1, dy_N1 = (to_x_NS - x_NS)[:, s, None], (to_y_NS - y_NS)[:, s, None]
        x_NW, y_NH = centre_W - x_NS[:, s, None], centre_W - y_NS[:, s, None]
        length_N = (dx_N1 * dx_N1 + dy_N1 * dy_N1)[:, :, None]
        along_NHW = (y_NH * dy_N1)[:, :, None] + (x_NW * dx_N1)[:, None, :]
        share_NHW = np.clip(along_NHW / length_N, 0.0, 1.0)
        # |p - share d|² = |p|² + share (share |d|² - 2 p·d)
        bent_NHW = share_NHW * (share_NHW * length_N - 2.0 * along_NHW)
        near_NHW = (y_NH * y_NH)[:, :, None] + (x_NW * x_NW)[:, None, :] + bent_NHW
        best_NHW = np.minimum(best_NHW, near_NHW)
    return best_NHW
