"""Corruptions of light and colour."""

import numpy as np

from tlx.data.corruptions.draws import Draws
from tlx.data.corruptions.sampling import sampled
from tlx.errors import TlxError

# Shape suffixes: H rows, W columns, C channels. Images are float64 from 0 to 1, severities 1 to 5.

_FOG = 0.85  # how light fog is
_DECAY = 1.7  # how much weaker clouds of half the size are


def brightness(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """More light: the largest of a pixel's values grows, the others in proportion.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C. Ours: black becomes gray.
    """
    value_HW1 = image_HWC.max(axis=-1, keepdims=True)
    brighter_HW1 = np.minimum(value_HW1 + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1], 1)
    black_HW1 = value_HW1 == 0
    return np.where(black_HW1, brighter_HW1, image_HWC * brighter_HW1 / np.where(black_HW1, 1, value_HW1))


def contrast(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Every value nearer to the mean of its channel.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    mean_C = image_HWC.mean(axis=(0, 1), keepdims=True)
    return mean_C + (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] * (image_HWC - mean_C)


def saturate(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Colours stronger than they are; gray stays gray.

    Source: after Hendrycks and Dietterich (2019). The constants are ours: theirs first take colour away and then add
    it, so that the third severity may be nearer to the image than the second.

    Raises:
      TlxError: the image has no colours.
    """
    if image_HWC.shape[-1] != 3:
        raise TlxError(f"saturate: expected an image of 3 channels, got {image_HWC.shape[-1]}")
    factor = (1.5, 2.0, 3.0, 5.0, 20.0)[severity - 1]
    value_HW1 = image_HWC.max(axis=-1, keepdims=True)
    lack_HWC = value_HW1 - image_HWC
    # No value may fall below black: of the strongest colours all that can be had is taken.
    most_HW1 = value_HW1 / np.maximum(lack_HWC.max(axis=-1, keepdims=True), 1e-12)
    return value_HW1 - lack_HWC * np.minimum(factor, most_HW1)


def fog(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Light gray seen through clouds, coarse and fine, in front of the image.

    Source: after Hendrycks and Dietterich (2019), who add a plasma fractal and then scale the image back to its old
    range. The mixture with gray, its constants and clouds of interpolated noise are ours: theirs get no further from
    the image after the third severity.
    """
    thickest = (0.3, 0.45, 0.6, 0.75, 0.9)[severity - 1]
    rows, columns = image_HWC.shape[:2]
    clouds_HW1 = _clouds(rows, columns, draws)[..., None]
    share_HW1 = thickest * (1 + clouds_HW1) / 2
    return (1 - share_HW1) * image_HWC + share_HW1 * _FOG


def inversion(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """A window in which black and white are exchanged; the whole image at the highest severity.

    Source: ours.
    """
    rows, columns = image_HWC.shape[:2]
    side = np.sqrt((0.1, 0.25, 0.5, 0.75, 1.0)[severity - 1])
    high, wide = (max(1, round(side * length)) for length in (rows, columns))
    place = draws.uniform(2)
    top, left = int(place[0] * (rows - high + 1)), int(place[1] * (columns - wide + 1))
    out_HWC = image_HWC.copy()
    out_HWC[top : top + high, left : left + wide] = 1 - image_HWC[top : top + high, left : left + wide]
    return out_HWC


def stripes(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Dark and light stripes, across or down, an eighth of the shorter side from one to the next.

    Source: ours.
    """
    rows, columns = image_HWC.shape[:2]
    strength = (0.1, 0.2, 0.3, 0.45, 0.6)[severity - 1]
    period = max(2.0, min(rows, columns) / 8)
    down, phase = draws.uniform(2)
    at = np.mgrid[:rows, :columns][int(down < 0.5)] / period + phase
    return image_HWC + strength * np.where(at % 1 < 0.5, 1, -1)[..., None]


def _clouds(rows: int, columns: int, draws: Draws) -> np.ndarray:
    """Noise of several fineness from 0 to 1, the finer the weaker, [rows, columns]."""
    total_HW = np.zeros((rows, columns))
    for octave in range(1, 8):
        cells = 2**octave
        if octave > 1 and cells > 2 * max(rows, columns):
            break
        grid = draws.uniform(cells + 1, cells + 1, 1)
        row_HW, column_HW = np.mgrid[:rows, :columns].astype(float)
        total_HW += sampled(grid, row_HW / rows * cells, column_HW / columns * cells)[..., 0] / _DECAY**octave
    low, high = total_HW.min(), total_HW.max()
    return (total_HW - low) / max(high - low, 1e-12)
