"""Corruptions of single pixels."""

import numpy as np

from tlx.data.corruptions.draws import Draws

# Shape suffixes: H rows, W columns, C channels. Images are float64 from 0 to 1, severities 1 to 5.


def gaussian_noise(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """A normal number added to every value, as of a sensor in poor light.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    return image_HWC + (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * draws.normal(*image_HWC.shape)


def shot_noise(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Every value as a count of few photons.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return draws.poisson(image_HWC * photons) / photons


def impulse_noise(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Some values set to black or white, as by broken bits.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit, white = draws.uniform(2, *image_HWC.shape)
    return np.where(hit < share, (white < 0.5).astype(float), image_HWC)
