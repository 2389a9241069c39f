"""Reading: the streamed batches are the resident ones at every step, and damage is named."""

import hashlib
import shutil
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from tlx.data.order import batch_indices, subset
from tlx.data.pipeline import digest, load_arrays, stream
from tlx.data.source import open_split
from tlx.errors import FileError

STEPS, BATCH, SEED = 12, 32, 7


@pytest.fixture(scope="module")
def resident(data_dir):
    return load_arrays("digits", "train[:100]", data_dir)


@pytest.fixture
def damaged_dir(data_dir, tmp_path):
    """Digits with one byte of one training image changed."""
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    file = tmp_path / "digits/1.0.0/digits-train.array_record-00000-of-00001"
    content = bytearray(file.read_bytes())
    second_png = content.index(b"IDAT", content.index(b"IDAT") + 1)
    content[second_png + 20] ^= 1
    file.write_bytes(content)
    return tmp_path


class Fake:
    """A source whose third example is not what it should be."""

    def __init__(self, source, wrong):
        self.dataset_info, self.split = source.dataset_info, source.split
        self.source, self.wrong = source, wrong

    def __getitems__(self, positions):
        examples = self.source.__getitems__(positions)
        return [e | self.wrong if i == 2 else e for i, e in zip(positions, examples, strict=True)]


@pytest.mark.parametrize("start", [0, 1, 5, STEPS - 1])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_the_stream_equals_the_resident_arrays(data_dir, resident, start, num_threads):
    chosen = subset(resident.label_N, 50, SEED)

    def indices(step):
        return chosen[batch_indices(len(chosen), BATCH, SEED, step)]

    source = open_split("digits", "train[:100]", data_dir)
    batches = list(stream(source, indices, start, STEPS, num_threads))
    assert len(batches) == STEPS - start
    for step, batch in enumerate(batches, start):
        assert batch["input"].dtype == np.uint8
        assert batch["label"].dtype == np.int32
        assert np.array_equal(batch["input"], resident.input_N[indices(step)])
        assert np.array_equal(batch["label"], resident.label_N[indices(step)])


def test_an_empty_stream(data_dir):
    source = open_split("digits", "test", data_dir)
    assert list(stream(source, lambda step: np.arange(4), 3, 3)) == []


def test_the_stream_reads_no_further_than_a_few_steps_ahead(data_dir):
    asked = []
    source = open_split("digits", "test", data_dir)
    batches = stream(source, lambda step: asked.append(step) or np.arange(4), 10**6, 10**9, num_threads=2)
    next(batches)
    batches.close()
    assert min(asked) == 10**6
    assert max(asked) < 10**6 + 10


def test_arrays_cannot_be_rebound(resident):
    with pytest.raises(FrozenInstanceError):
        resident.split = "test"


def test_the_digest_covers_shape_pixels_and_labels():
    image_NHWC, label_N = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), np.array([1, 2])
    expected = hashlib.sha256(b"(2, 2, 2, 1)" + bytes(range(8)) + b"\1\0\0\0\2\0\0\0").hexdigest()
    assert digest(image_NHWC, label_N) == expected
    assert digest(image_NHWC[::-1][::-1], label_N.astype(np.int32)) == expected
    others = {
        digest(image_NHWC.reshape(2, 1, 4, 1), label_N),
        digest(image_NHWC ^ 1, label_N),
        digest(image_NHWC, label_N[::-1]),
    }
    assert len(others | {expected}) == 4


def test_a_damaged_example_is_named(damaged_dir):
    with pytest.raises(FileError, match=r"digits train, example 1 is damaged \(.*\); delete") as caught:
        load_arrays("digits", "train", damaged_dir)
    assert "\n" not in str(caught.value)
    assert len(load_arrays("digits", "train[2:]", damaged_dir).label_N) == 1395


@pytest.mark.parametrize("keep", [0, 1000, 100_000])
def test_a_cut_file_is_named(damaged_dir, keep):
    file = damaged_dir / "digits/1.0.0/digits-train.array_record-00000-of-00001"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FileError, match="digits train, example 0 is damaged"):
        load_arrays("digits", "train", damaged_dir)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"label": 10}, "label 10 is not below 10"),
        ({"label": -1}, "label -1 is not below 10"),
        ({"image": b"\x89PNG"}, "cannot identify image file"),
    ],
)
def test_a_wrong_example_is_named(data_dir, wrong, reason):
    source = Fake(open_split("digits", "train", data_dir), wrong)
    with pytest.raises(FileError, match=rf"digits train, example 2 is damaged \({reason}"):
        list(stream(source, lambda step: np.arange(step, step + 4), 0, 5))
