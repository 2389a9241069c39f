"""Corruptions that spread each pixel over its neighbours."""

import numpy as np

from tlx.data.corruptions.draws import Draws
from tlx.data.corruptions.sampling import sampled, scaled

# Shape suffixes: H rows, W columns, C channels, K a kernel's side. Images are float64 from 0 to 1, severities 1 to 5.


def defocus_blur(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Each point becomes a disc.

    Source: Hendrycks and Dietterich (2019), with their radii for ImageNet-C. Ours: radii in proportion to the image,
    half a pixel more, and the disc's edge smoothed by the fraction of a pixel that it covers.
    """
    radius = scaled((3, 4, 6, 8, 10)[severity - 1], image_HWC) + 0.5
    reach = int(np.ceil(radius + 0.5))
    at_K = np.arange(-reach, reach + 1)
    kernel_KK = np.clip(radius + 0.5 - np.hypot(at_K[:, None], at_K[None]), 0, 1)
    return _spread(image_HWC, kernel_KK)


def motion_blur(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Each point becomes a line, of one direction in the whole image, fading towards its ends.

    Source: Hendrycks and Dietterich (2019), with their lengths and spreads for ImageNet-C. Ours: lengths in proportion
    to the image, half a pixel more, and a line to both sides.
    """
    constants = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    length, spread = (scaled(pixels, image_HWC) + 0.5 for pixels in constants)
    angle = np.pi * (draws.uniform(1)[0] - 0.5) / 2  # up to 45° from the horizontal
    reach = int(np.ceil(length)) + 1
    kernel_KK = np.zeros((2 * reach + 1, 2 * reach + 1))
    for along in np.linspace(-length, length, 8 * reach + 1):
        x, y = reach + along * np.cos(angle), reach + along * np.sin(angle)
        column, row = int(x), int(y)
        share = np.outer([1 - (y - row), y - row], [1 - (x - column), x - column])
        kernel_KK[row : row + 2, column : column + 2] += share * np.exp(-((along / spread) ** 2) / 2)
    return _spread(image_HWC, kernel_KK)


def zoom_blur(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """The mean of the image and of ever larger ones, as when it comes nearer.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    zooms = (
        np.arange(1, 1.11, 0.01),
        np.arange(1, 1.16, 0.01),
        np.arange(1, 1.21, 0.02),
        np.arange(1, 1.26, 0.02),
        np.arange(1, 1.33, 0.03),
    )[severity - 1]
    rows, columns = image_HWC.shape[:2]
    row_HW, column_HW = np.mgrid[:rows, :columns].astype(float)
    middle = (rows - 1) / 2, (columns - 1) / 2
    zoomed = [
        sampled(image_HWC, middle[0] + (row_HW - middle[0]) / zoom, middle[1] + (column_HW - middle[1]) / zoom)
        for zoom in zooms
    ]
    return (image_HWC + sum(zoomed)) / (1 + len(zoomed))


def _spread(image_HWC: np.ndarray, kernel_KK: np.ndarray) -> np.ndarray:
    """Convolution with a kernel of any sum; pixels at the edge are repeated beyond it."""
    reach = len(kernel_KK) // 2
    rows, columns = image_HWC.shape[:2]
    padded_HWC = np.pad(image_HWC, [(reach, reach), (reach, reach), (0, 0)], "edge")
    out_HWC = np.zeros_like(image_HWC)
    for i, j in zip(*np.nonzero(kernel_KK), strict=True):
        out_HWC += kernel_KK[i, j] * padded_HWC[i : i + rows, j : j + columns]
    return out_HWC / kernel_KK.sum()
