"""Builders as TFDS has them, in a module of their own: TFDS finds the code of a builder by its module."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

COUNT = 10


class TinySigns(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """Short texts under other names than `text` and `label`, in two configs."""

    VERSION = tfds.core.Version("2.1.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("plain", "loud")]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "sentence": tfds.features.Text(),
            "sign": tfds.features.ClassLabel(names=["no", "yes"]),
            "other": tfds.features.ClassLabel(num_classes=3),
            "strength": tfds.features.Scalar(np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("sentence", "sign"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        return {"train": self._generate_examples(COUNT), "test": self._generate_examples(3)}

    def _generate_examples(self, count: int) -> Iterator[tuple[int, Any]]:
        for i in range(count):
            text = f"sentence {i}" + "!" * (self.builder_config.name == "loud")
            yield i, {"sentence": text, "sign": i % 2, "other": i % 3, "strength": i / 2}


class TinyArrays(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """Images as arrays, which TFDS encodes with TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(shape=(2, 2, 1)), "label": tfds.features.ClassLabel(num_classes=2)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
        yield 0, {"image": np.zeros((2, 2, 1), np.uint8), "label": 0}


class TinyPictures(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """PNG files of several sizes under other names than `image` and `label`."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"picture": tfds.features.Image(), "kind": tfds.features.ClassLabel(num_classes=2)}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("picture", "kind"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
        for i in range(4):
            file = io.BytesIO()
            Image.fromarray(np.full((4 + i, 6), 50 * i, np.uint8)).save(file, format="png")
            yield i, {"picture": file.getvalue(), "kind": i % 2}


class TinyFetched(TinySigns):
    """What comes from a host."""

    url_infos = {"https://data.invalid/file.zip": None}  # noqa: RUF012

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        dl_manager.download("https://data.invalid/file.zip")
        raise AssertionError("was fetched")


class TinyManual(TinySigns):
    """What must be fetched by hand."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Sign the form,\n  get signs.zip."

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        assert (dl_manager.manual_dir / "signs.zip").exists()
        return super()._split_generators(dl_manager)
