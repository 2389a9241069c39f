"""Corruptions by what images are stored in, and of their geometry."""

import io

import numpy as np
from PIL import Image

from tlx.data.corruptions.draws import Draws
from tlx.data.corruptions.sampling import sampled

# Shape suffixes: H rows, W columns, C channels. Images are float64 from 0 to 1, severities 1 to 5.


def pixelate(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Fewer pixels, then as many as before.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    rows, columns = image_HWC.shape[:2]
    small = (max(1, int(columns * share)), max(1, int(rows * share)))
    image = _to_pillow(image_HWC).resize(small, Image.Resampling.BOX)
    return _from_pillow(image.resize((columns, rows), Image.Resampling.NEAREST))


def jpeg_compression(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Stored as JPEG of low quality; to the last bit only with the same version of Pillow.

    Source: Hendrycks and Dietterich (2019), with their constants for ImageNet-C.
    """
    file = io.BytesIO()
    _to_pillow(image_HWC).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    with Image.open(file) as image:
        return _from_pillow(image)


def elastic(image_HWC: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """Pixels moved this way and that, neighbours alike.

    Source: after Simard et al. (2003). The constants are ours.
    """
    rows, columns = image_HWC.shape[:2]
    far = (0.01, 0.02, 0.03, 0.045, 0.06)[severity - 1] * min(rows, columns)
    row_HW, column_HW = np.mgrid[:rows, :columns].astype(float)
    # Arrows on a coarse grid, one for each tenth of a side, and between them their means.
    grid = draws.normal(11, 11, 2)
    moved_HW2 = far * sampled(grid, row_HW / rows * 10, column_HW / columns * 10)
    return sampled(image_HWC, row_HW + moved_HW2[..., 0], column_HW + moved_HW2[..., 1])


def _to_pillow(image_HWC: np.ndarray) -> Image.Image:
    level_HWC = np.round(image_HWC * 255).astype(np.uint8)
    return Image.fromarray(level_HWC[..., 0] if level_HWC.shape[-1] == 1 else level_HWC)


def _from_pillow(image: Image.Image) -> np.ndarray:
    level = np.asarray(image, np.float64) / 255
    return level[..., None] if level.ndim == 2 else level
