"""Images looked up between their pixels, and lengths in proportion to them."""

import numpy as np

# Shape suffixes: H rows, W columns, C channels.

_SIDE = 224  # of the images of ImageNet-C, in pixels


def scaled(pixels: float, image_HWC: np.ndarray) -> float:
    """A length that is meant for images of 224 pixels, in proportion to the shorter side of this one."""
    return pixels * min(image_HWC.shape[:2]) / _SIDE


def sampled(image_HWC: np.ndarray, row_HW: np.ndarray, column_HW: np.ndarray) -> np.ndarray:
    """Bilinear interpolation; what lies outside is as the nearest pixel.

    Args:
      image_HWC: floats.
      row_HW: where to look, in pixels; 0 is the middle of the first.
      column_HW: likewise.

    Returns:
      [*row_HW.shape, channels].
    """
    rows, columns = image_HWC.shape[:2]
    row_HW, column_HW = np.clip(row_HW, 0, rows - 1), np.clip(column_HW, 0, columns - 1)
    top_HW, left_HW = np.floor(row_HW).astype(int), np.floor(column_HW).astype(int)
    bottom_HW, right_HW = np.minimum(top_HW + 1, rows - 1), np.minimum(left_HW + 1, columns - 1)
    down, across = (row_HW - top_HW)[..., None], (column_HW - left_HW)[..., None]
    upper = (1 - across) * image_HWC[top_HW, left_HW] + across * image_HWC[top_HW, right_HW]
    lower = (1 - across) * image_HWC[bottom_HW, left_HW] + across * image_HWC[bottom_HW, right_HW]
    return (1 - down) * upper + down * lower
