"""What all drawn data sets share: labels in turn, poses, and what befalls an image once its ink is there.

Shape suffixes: N examples, C classes, H rows, W columns, P points. A place is x to the right and y down, the image from
-1 to 1 in both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.data.builders.bits import LABELS, NOISE, RENAMED, STRIPES, WRONG, Draws, order
from tlx.data.builders.presets import SPLITS

ROTATION, SCALE, SCALE_SPREAD, SHIFT = 0.45, 0.925, 0.175, 0.2
PERIOD = 4  # pixels from stripe to stripe
_CHUNK = 256  # examples drawn at once: few enough that their arrays stay in the processor's cache

# Numbers of the classes of N examples to their ink, [N, H, W] from 0 to 1.
Ink = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pose:
    """How each example is turned, scaled and moved.

    Args:
      cos_N: of the angle, times the scale.
      sin_N: the same of its sine.
      x_N: shift to the right.
      y_N: shift down.
      scale_N: the scale alone.
    """

    cos_N: np.ndarray
    sin_N: np.ndarray
    x_N: np.ndarray
    y_N: np.ndarray
    scale_N: np.ndarray

    def place(self, x_NP: np.ndarray, y_NP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points of each example come to lie, [N, P] both."""
        cos, sin = self.cos_N[:, None], self.sin_N[:, None]
        return cos * x_NP - sin * y_NP + self.x_N[:, None], sin * x_NP + cos * y_NP + self.y_N[:, None]


def draw_poses(draws: Draws, n: int, difficulty: float) -> Pose:
    """The poses of the next n examples, which vary by `difficulty` times what they do by default."""
    turn_N, wide_N, x_N, y_N = draws.uniform(-difficulty, difficulty, n, 4).T
    cos_N, sin_N = _cos_sin(ROTATION * turn_N)
    scale_N = SCALE + SCALE_SPREAD * wide_N
    return Pose(scale_N * cos_N, scale_N * sin_N, SHIFT * x_N, SHIFT * y_N, scale_N)


def centres(side: int) -> np.ndarray:
    """Where the centres of a row's pixels are, [W]."""
    return (2.0 * np.arange(side) + 1.0) / side - 1.0


def labels(settings: dict[str, Any], split: int) -> tuple[np.ndarray, np.ndarray]:
    """Which class each example is of, and which label it carries.

    Each run of C examples has each class once, so that any head of a split is balanced.

    Args:
      settings: of the data set.
      split: place in `SPLITS`.

    Returns:
      int64 [N] both, from 0 to C - 1.
    """
    n, classes = settings[SPLITS[split]], settings["classes"]
    class_N = order(settings["seed"], split, LABELS, -(-n // classes), classes).ravel()[:n]
    name_C = order(settings["label_seed"], 0, RENAMED, 1, classes)[0] if settings["label_seed"] else np.arange(classes)
    label_N = name_C[class_N]
    if SPLITS[split] == "train":
        wrong = order(settings["seed"], 0, WRONG, 1, n)[0][: round(settings["label_noise"] * n)]
        away = 1 + Draws(settings["seed"], 1, WRONG).below(classes - 1, n)[wrong]
        label_N[wrong] = (label_N[wrong] + away) % classes
    return class_N, label_N


def draw(ink: Ink, settings: dict[str, Any], split: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The examples of a split, some at a time.

    Args:
      ink: numbers of classes to their ink, called for some examples after the other.
      settings: of the data set.
      split: place in `SPLITS`.

    Yields:
      uint8 [n, H, W] and labels int64 [n].
    """
    class_N, label_N = labels(settings, split)
    finish = _finisher(settings, split)
    for start in range(0, len(class_N), _CHUNK):
        now = slice(start, start + _CHUNK)
        yield finish(ink(settings["first"] + class_N[now])), label_N[now]


def _finisher(settings: dict[str, Any], split: int) -> Callable[[np.ndarray], np.ndarray]:
    """From ink to pixels: blurred, striped, noisy, inverted, in this order."""
    stripes, noise = (Draws(settings["seed"], split, purpose) for purpose in (STRIPES, NOISE))

    def finish(ink_NHW: np.ndarray) -> np.ndarray:
        value_NHW = _blurred(ink_NHW, settings["blur"])
        if settings["stripes"]:
            value_NHW = value_NHW + settings["stripes"] * _stripes(stripes, *ink_NHW.shape[::2])[:, None]
        if settings["noise"]:
            value_NHW = value_NHW + settings["noise"] * noise.bell(*ink_NHW.shape)
        pixel_NHW = np.rint(255.0 * np.clip(value_NHW, 0.0, 1.0)).astype(np.uint8)
        return 255 - pixel_NHW if settings["invert"] else pixel_NHW

    return finish


def _blurred(ink_NHW: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred by passes of (a, 1 - 2a, a) over rows and columns, whose variances, 2a each, add up to sigma squared."""
    passes = int(np.ceil(2 * sigma * sigma))
    a = sigma * sigma / (2 * passes) if passes else 0.0
    for _ in range(passes):
        for axis in (1, 2):
            wide = np.pad(ink_NHW, [(int(axis == each),) * 2 for each in range(3)])
            before, after = (np.take(wide, range(k, k + ink_NHW.shape[axis]), axis) for k in (0, 2))
            ink_NHW = (1.0 - 2.0 * a) * ink_NHW + a * (before + after)
    return ink_NHW


def _stripes(draws: Draws, n: int, side: int) -> np.ndarray:
    """Bright and dark in turn with soft edges, at a place of each example's own: [N, W] from 0 to 1."""
    turn_NW = np.arange(side) / PERIOD + draws.uniform(0.0, 1.0, n)[:, None]
    ramp_NW = np.abs(2.0 * (turn_NW - np.floor(turn_NW)) - 1.0)
    return np.clip(2.0 * ramp_NW - 0.5, 0.0, 1.0)


def _cos_sin(angle_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By their series, right to 1e-13 for angles up to 1.4."""
    square_N, cos_N, sin_N = angle_N * angle_N, np.ones_like(angle_N), np.ones_like(angle_N)
    for k in range(18, 0, -2):
        cos_N = 1.0 - square_N / (k * (k - 1)) * cos_N
        sin_N = 1.0 - square_N / (k * (k + 1)) * sin_N
    return cos_N, angle_N * sin_N
