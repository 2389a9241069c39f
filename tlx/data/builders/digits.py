"""The 1,797 digits that come inside scikit-learn, framed as MNIST frames its own: no download."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tlx.data.builders import gray28
from tlx.errors import TlxError

_BOX, _BORDER = 20, 4


class Digits(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """1,797 handwritten digits enlarged from 8 x 8 pixels: `train` 1,397 and `test` 400."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return gray28.info(
            self,
            description=(
                "The test part of UCI's optical recognition of handwritten digits: 8 x 8 counts of ink from "
                "0 to 16, here stretched to 0..255 and enlarged by bicubic interpolation to the box of 20 x "
                "20 inside a border of 4 that MNIST uses. The split is tlx's own, all 13 writers in both."
            ),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            license="CC BY 4.0; the scikit-learn package that carries the copy: BSD 3-clause",
            citation=(
                "@misc{alpaydin1998optical, title={Optical Recognition of Handwritten Digits}, "
                "author={Alpaydin, Ethem and Kaynak, Cenk}, year={1998}, "
                "howpublished={UCI Machine Learning Repository}, doi={10.24432/C50P49}}"
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager  # nothing is downloaded
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise TlxError("dataset digits: needs scikit-learn; run pip install 'tlx[demo]'") from None
        raw = load_digits()
        image_NHW = np.stack([_framed(ink_HW) for ink_HW in raw.images])
        parts = gray28.splits(image_NHW, raw.target, held_out=400)
        return {name: self._generate_examples(*part) for name, part in parts.items()}

    def _generate_examples(self, image_NHW: np.ndarray, label_N: np.ndarray) -> Iterator[tuple[int, Any]]:
        return gray28.examples(image_NHW, label_N)


def _framed(ink_HW: np.ndarray) -> np.ndarray:
    """8 x 8 ink from 0 to 16 as a 28 x 28 gray image."""
    small = Image.fromarray(np.round(ink_HW * (255 / 16)).astype(np.uint8))
    large = small.resize((_BOX, _BOX), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(large), _BORDER)
