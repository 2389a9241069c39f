"""Arrays in a file: pixels and labels unchanged, wrong shapes, types and labels named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.data.describe import describe
from tlx.data.pipeline import load_arrays
from tlx.data.source import prepare
from tlx.errors import FileError


def pixels(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)


def saved(file: Path, **arrays: Any) -> str:
    np.savez(file, **arrays)
    return f"npz:{file}"


def by_label(file: Path, split: str, data_dir: Path) -> dict[int, np.ndarray]:
    arrays = load_arrays(f"npz:{file}", split, data_dir)
    return dict(zip(arrays.label_N.tolist(), arrays.input_N, strict=True))


@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 4, 1), (3, 5, 4, 3)])
def test_keras_names(tmp_path: Path, shape: tuple[int, ...]) -> None:
    train, test = pixels(*shape), pixels(*shape)[:2] + 1
    file = tmp_path / "a.npz"
    name = saved(file, x_train=train, y_train=np.array([[2], [0], [1]]), x_test=test, y_test=np.uint8([1, 2]))
    channels = 3 if shape[-1] == 3 else 1
    assert describe(name, tmp_path, 9) == ((5, 4, channels), 3)
    prepare(name, tmp_path / "data")
    for split, images, labels in (("train", train, (2, 0, 1)), ("test", test, (1, 2))):
        found = by_label(file, split, tmp_path / "data")
        assert sorted(found) == sorted(labels)
        for image, label in zip(images, labels, strict=True):
            assert np.array_equal(found[label], image.reshape(5, 4, channels))


def test_image_and_label_are_the_split_train(tmp_path: Path) -> None:
    name = saved(tmp_path / "a.npz", image=pixels(2, 3, 3), label=np.array([1, 0]))
    prepare(name, tmp_path / "data")
    assert np.array_equal(by_label(tmp_path / "a.npz", "train", tmp_path / "data")[1][..., 0], pixels(2, 3, 3)[0])


X, Y = pixels(2, 3, 3), np.array([0, 1])
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "expected x_train and y_train, or image and label; found nothing"),
    ({"a": X, "b": Y}, "expected x_train and y_train, or image and label; found a, b"),
    ({"x_train": X}, "lacks the array 'y_train'"),
    ({"label": Y}, "lacks the array 'image'"),
    ({"x_train": X / 255, "y_train": Y}, "x_train: expected uint8 pixels from 0 to 255, got float64"),
    ({"x_train": X[0], "y_train": Y}, r"x_train: expected \[N, rows, columns\], or that with 1 or 3 .* got \(3, 3\)"),
    ({"x_train": pixels(2, 3, 4, 4), "y_train": Y}, r"x_train: expected .*, got \(2, 3, 4, 4\)"),
    ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train: expected .*, got \(0, 3, 3\)"),
    ({"x_train": X, "y_train": Y[:1]}, r"y_train: expected an integer for each of the 2 images, got int64 \(1,\)"),
    ({"x_train": X, "y_train": Y / 1}, r"y_train: expected an integer for each of the 2 images, got float64 \(2,\)"),
    ({"x_train": X, "y_train": np.eye(2)}, r"y_train: expected .*, got float64 \(2, 2\)"),
    ({"x_train": X, "y_train": Y - 1}, "y_train: expected integers from 0 without a gap, got -1"),
    ({"x_train": X, "y_train": Y * 0}, "expected at least two classes, found only the label 0"),
    ({"x_train": X, "y_train": Y * 2}, "class '1' has no example in train; add some"),
    ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "class '2' has no example in train; add some"),
    (
        {"x_train": X, "y_train": Y, "x_test": pixels(2, 4, 4), "y_test": Y},
        r"test has images of \(4, 4, 1\), the first split of \(3, 3, 1\)",
    ),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=rf"^{tmp_path}/a\.npz: {message}"):
        prepare(saved(tmp_path / "a.npz", **arrays), tmp_path / "data")


def test_nothing_pickled_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    name = saved(tmp_path / "a.npz", x_train=np.array([Trap()], object), y_train=Y)
    with pytest.raises(FileError, match=r"a\.npz: is not a \.npz file of plain arrays, or is damaged \(Object arrays"):
        prepare(name, tmp_path / "data")
    assert not (tmp_path / "sprung").exists()


def test_damaged_files(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz", x_train=X, y_train=Y)
    content = (tmp_path / "a.npz").read_bytes()
    np.save(tmp_path / "one.npy", X)
    flipped = bytearray(content)
    flipped[content.index(X.tobytes())] ^= 1
    for damaged in (b"", b"rubbish", content[:-30], bytes(flipped), (tmp_path / "one.npy").read_bytes()):
        (tmp_path / "a.npz").write_bytes(damaged)
        with pytest.raises(
            FileError, match=r"a\.npz: is not a \.npz file of plain arrays, or is damaged \(."
        ) as caught:
            prepare(f"npz:{tmp_path / 'a.npz'}", tmp_path / "data")
        assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match=r"b\.npz: there is no such file$"):
        prepare(f"npz:{tmp_path / 'b.npz'}", tmp_path / "data")
