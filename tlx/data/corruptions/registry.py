"""Corruptions by name, at severities from 1 to 5."""

from collections.abc import Callable

import numpy as np

from tlx.data.corruptions import blur, digital, light, noise
from tlx.data.corruptions.draws import Draws
from tlx.errors import TlxError, suggest

# Shape suffixes: H rows, W columns, C channels.

SEVERITIES = (1, 2, 3, 4, 5)

# Each takes float64 from 0 to 1, a severity and the image's random numbers; what it gives may leave the range.
CORRUPTIONS: dict[str, Callable[[np.ndarray, int, Draws], np.ndarray]] = {
    corruption.__name__: corruption
    for corruption in (
        noise.gaussian_noise,
        noise.shot_noise,
        noise.impulse_noise,
        blur.defocus_blur,
        blur.motion_blur,
        blur.zoom_blur,
        light.fog,
        light.brightness,
        light.contrast,
        light.saturate,
        light.inversion,
        light.stripes,
        digital.elastic,
        digital.pixelate,
        digital.jpeg_compression,
    )
}

# Those that do nothing to images without colours.
OF_COLOUR = ("saturate",)


def corrupted(name: str, image_HWC: np.ndarray, severity: int, seed: int, index: int) -> np.ndarray:
    """An image made worse: a pure function of its arguments.

    At other severities the same random numbers are used, so that an image gets ever worse in the same way.

    Args:
      name: key of `CORRUPTIONS`.
      image_HWC: uint8, of one channel or three.
      severity: from 1 to 5.
      seed: of the whole set of images, 0 ≤ seed < 2**64.
      index: of the image in it, from 0.

    Returns:
      uint8 [H, W, C].

    Raises:
      TlxError: there is no such corruption or severity, or the image is none that it can be done to.
    """
    if name not in CORRUPTIONS:
        raise TlxError(f"{name}: no such corruption{suggest(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise TlxError(f"{name}: expected a severity from 1 to 5, got {severity!r}")
    if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[-1] not in (1, 3):
        got = f"{image_HWC.dtype}{list(image_HWC.shape)}"
        raise TlxError(f"{name}: expected uint8 pixels [rows, columns, 1 or 3 channels], got {got}")
    out_HWC = CORRUPTIONS[name](image_HWC / 255, severity, Draws(seed, index, name))
    return np.round(np.clip(out_HWC, 0, 1) * 255).astype(np.uint8)
