"""Image files to pixels, on the host: every mode that Pillow knows on purpose, and one size for images of many.

Shapes: H rows, W columns, C channels.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from tlx.errors import TlxError

# Channels to Pillow's mode.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Channels of images whose features do not say.
COLOURS = 3
_KEPT = ("PNG", "JPEG")


@dataclass(frozen=True)
class Fit:
    """How images of several sizes get one.

    Args:
      resize: rows and columns of the whole image, or the length of its shorter side; None leaves it.
      crop: rows and columns cut out of the middle afterwards; None leaves all.

    Raises:
      TlxError: a size is below 1.
    """

    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        given = {"resize": self.resize, "crop": self.crop}
        for name, size in given.items():
            if size is not None and min(size if isinstance(size, tuple) else (size,)) < 1:
                raise TlxError(f"{name}: expected sizes of at least 1, got {size}")

    def size(self, shape: Sequence[int | None]) -> tuple[int | None, int | None]:
        """Rows and columns of every image afterwards; None where they differ.

        Args:
          shape: [H, W, C] beforehand, None where images differ.
        """
        rows, columns = shape[:2]
        if isinstance(self.resize, tuple):
            rows, columns = self.resize
        elif self.resize is not None:
            rows, columns = (None, None) if rows is None or columns is None else _shorter(rows, columns, self.resize)
        return self.crop or (rows, columns)

    def __call__(self, image: Image.Image) -> Image.Image:
        """One image, fitted.

        Args:
          image: of mode L, RGB or RGBA.

        Raises:
          TlxError: it is smaller than the crop.
        """
        if self.resize is not None:
            rows_columns = self.resize
            if isinstance(rows_columns, int):
                rows_columns = _shorter(image.height, image.width, rows_columns)
            # Pillow widens the filter where it shrinks, so that fine patterns do not alias.
            image = image.resize(rows_columns[::-1], Image.Resampling.BICUBIC)
        if self.crop is None:
            return image
        rows, columns = self.crop
        top, left = (image.height - rows) // 2, (image.width - columns) // 2
        if top < 0 or left < 0:
            raise TlxError(f"crop: {image.height} x {image.width} pixels are too few for {rows} x {columns}")
        return image.crop((left, top, left + columns, top + rows))


def decode(data: bytes, shape: Sequence[int | None], fit: Fit) -> np.ndarray:
    """The pixels of a PNG, JPEG or other image file.

    Alpha is dropped and EXIF's orientation ignored, as torchvision and TensorFlow do, so that numbers compare.

    Args:
      data: the file's content.
      shape: [H, W, C] that it is said to have, H and W None for any; C is 1 for gray, 3 or None for colours, 4 for
        colours and alpha, and images of another number are converted.
      fit: gives them one size.

    Returns:
      uint8 [H, W, C].

    Raises:
      OSError, SyntaxError, ValueError: it is no image, is damaged, is of another size than said, or has numbers that
        no pixel has.
    """
    rows, columns, channels = shape
    channels = channels or COLOURS
    with Image.open(io.BytesIO(data)) as file:
        if rows not in (None, file.height) or columns not in (None, file.width):
            raise ValueError(f"{file.height} x {file.width} pixels in place of {rows} x {columns}")
        image = fit(converted(file, MODES[channels]))
    return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def converted(image: Image.Image, mode: str) -> Image.Image:
    """An image in another of Pillow's modes.

    Args:
      image: opened.
      mode: L, RGB or RGBA.

    Raises:
      ValueError: its pixels are fractions, or integers of more than 16 bits.
    """
    image.load()
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255, instead of taking the upper 8
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are fractions")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of what it drops otherwise
    return image if image.mode == mode else image.convert(mode)


def header(data: IO[bytes]) -> tuple[int, int, bool]:
    """Size of an image and whether it has colours, from its first bytes.

    Args:
      data: the opened file.

    Returns:
      Rows, columns, and True for a coloured one.

    Raises:
      OSError, SyntaxError, ValueError: it is no image.
    """
    with _strict(), Image.open(data) as image:
        return image.height, image.width, image.mode not in ("1", "L", "LA", "La", "I", "F") and image.mode[:2] != "I;"


def verified(data: bytes) -> bytes:
    """An image file that certainly can be read, as PNG or JPEG.

    Args:
      data: the file's content, in any format that Pillow reads.

    Returns:
      The same bytes, or a PNG of the first picture in it if it is neither PNG nor JPEG.

    Raises:
      OSError, SyntaxError, ValueError: it is no image, is damaged, or has numbers that no pixel has.
    """
    with _strict():
        with Image.open(io.BytesIO(data)) as image:
            image.verify()  # checksums
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format
            image.load()  # the pixels, which a file that was cut has too few of
            if kind in _KEPT and image.mode != "F":
                return data
            return png(converted(image, image.mode if image.mode in MODES.values() else "RGB"))


def several_sizes(name: str) -> TlxError:
    """The error of a data set whose images have no common size where one is needed.

    Args:
      name: of the data set.
    """
    return TlxError(
        f"dataset {name} has images of several sizes; give them one, e.g. config.preprocess.resize=(224, 224)"
    )


def png(image: Image.Image) -> bytes:
    """An image as PNG, without loss."""
    file = io.BytesIO()
    image.save(file, format="png")
    return file.getvalue()


@contextmanager
def _strict() -> Iterator[None]:
    """Make an error of an image so large that decoding it would eat all memory. Not for several threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _shorter(rows: int, columns: int, side: int) -> tuple[int, int]:
    """Rows and columns when the shorter side gets a length."""
    if rows <= columns:
        return side, max(side, round(columns * side / rows))
    return max(side, round(rows * side / columns)), side
