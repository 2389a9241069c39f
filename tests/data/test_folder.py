"""Folders of images: splits, classes, sizes; what is refused; an edited folder is prepared anew."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlx.data.describe import describe, features_of, is_text
from tlx.data.pipeline import load_arrays, stream
from tlx.data.source import open_split, prepare
from tlx.errors import FileError, TlxError


def picture(file: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), value, np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes, five images each to train on and one each to test on, told apart by their value."""
    root = tmp_path / "pets"
    for c, name in enumerate(("dog", "cat")):
        for i in range(5):
            picture(root / "train" / name / f"{i}.png", 10 * i + c)
        picture(root / "val" / name / "deeper" / "x.PNG", 200 + c)
    (root / "train" / ".hidden").touch()
    (root / "README.txt").write_text("Not an image, but in no class either.")
    return root


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_images_classes_and_splits(pets: Path, data_folder: Path) -> None:
    name = f"folder:{pets}"
    assert describe(name, data_folder, 9) == ((6, 4, 3), 2)
    assert not data_folder.exists()
    prepare(name, data_folder)
    assert describe(name, data_folder, 9) == ((6, 4, 3), 2)
    assert features_of(name, data_folder)["label"].names == ["cat", "dog"]
    assert not is_text(name, data_folder)
    train = load_arrays(name, "train", data_folder)
    assert (train.name, train.input_N.shape, train.num_classes) == (name, (10, 6, 4, 3), 2)
    value_N = train.input_N[:, 0, 0, 0].astype(int)
    assert sorted(value_N.tolist()) == sorted(10 * i + c for i in range(5) for c in range(2))
    assert np.array_equal(train.label_N, 1 - value_N % 10)
    validation = load_arrays(name, "validation", data_folder)
    assert sorted(validation.input_N[:, 0, 0, 0].tolist()) == [200, 201]


def test_slices_of_sorted_files_have_every_class(pets: Path, data_folder: Path) -> None:
    prepare(f"folder:{pets}", data_folder)
    for split in ("train[:40%]", "train[4:8]", "train[8:]"):
        label_N = load_arrays(f"folder:{pets}", split, data_folder).label_N
        assert label_N.sum() == len(label_N) // 2


def test_classes_alone_are_the_split_train(pets: Path, data_folder: Path) -> None:
    name = f"folder:{pets / 'train'}"
    prepare(name, data_folder)
    assert len(open_split(name, "train", data_folder)) == 10
    with pytest.raises(TlxError, match=r"has no 'test' \(one of train\)"):
        open_split(name, "test", data_folder)


def test_bytes_are_passed_on_and_other_formats_become_png(pets: Path, data_folder: Path) -> None:
    picture(pets / "train" / "cat" / "a.jpg", 77)
    picture(pets / "train" / "cat" / "b.webp", 78)
    name = f"folder:{pets}"
    prepare(name, data_folder)
    stored = [e["image"] for e in open_split(name, "train", data_folder).__getitems__(list(range(12)))]
    assert (pets / "train/cat/a.jpg").read_bytes() in stored
    assert (pets / "train/dog/3.png").read_bytes() in stored
    assert (pets / "train/cat/b.webp").read_bytes() not in stored
    assert {data[:3] for data in stored} == {b"\x89PN", b"\xff\xd8\xff"}


def test_gray_if_all_are(tmp_path: Path, data_folder: Path) -> None:
    for c in "ab":
        picture(tmp_path / "gray" / c / "0.png", 9, mode="L")
    assert describe(f"folder:{tmp_path / 'gray'}", data_folder, 9) == ((6, 4, 1), 2)
    picture(tmp_path / "gray" / "a" / "1.png", 9)
    assert describe(f"folder:{tmp_path / 'gray'}", data_folder, 9) == ((6, 4, 3), 2)


def test_several_sizes_need_one(pets: Path, data_folder: Path) -> None:
    picture(pets / "train" / "cat" / "large.png", 50, (12, 20))
    name = f"folder:{pets}"
    assert describe(name, data_folder, 9) == ((None, None, 3), 2)
    prepare(name, data_folder)
    line = (
        rf"^dataset {name} has images of several sizes; give them one, e\.g\. config\.preprocess\.resize=\(224, 224\)$"
    )
    for options in ({}, {"resize": 8}):
        with pytest.raises(TlxError, match=line):
            load_arrays(name, "train", data_folder, **options)  # type: ignore[arg-type]
    with pytest.raises(TlxError, match="has images of several sizes"):
        list(stream(open_split(name, "train", data_folder), lambda _: np.arange(11), 0, 1))
    assert load_arrays(name, "train", data_folder, resize=(8, 8)).input_N.shape == (11, 8, 8, 3)
    resident = load_arrays(name, "train", data_folder, resize=8, crop=(6, 5))
    assert resident.input_N.shape == (11, 6, 5, 3)
    (batch,) = stream(open_split(name, "train", data_folder), lambda _: np.arange(11), 0, 1, resize=8, crop=(6, 5))
    assert np.array_equal(batch["input"], resident.input_N)


def test_an_edited_folder_is_prepared_anew(pets: Path, data_folder: Path) -> None:
    name = f"folder:{pets}"
    prepare(name, data_folder)
    prepare(name, data_folder)
    assert len(os.listdir(data_folder)) == 1
    picture(pets / "train" / "dog" / "0.png", 99)
    with pytest.raises(FileError, match="is not a prepared dataset; delete it, if it is there, and prepare it"):
        open_split(name, "train", data_folder)
    prepare(name, data_folder)
    assert 99 in load_arrays(name, "train", data_folder).input_N
    (pets / "train" / "dog" / "0.png").rename(pets / "train" / "cat" / "moved.png")
    prepare(name, data_folder)
    assert np.bincount(load_arrays(name, "train", data_folder).label_N).tolist() == [6, 4]


def test_a_folder_that_changes_while_it_is_read(pets: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def edited(file: Path) -> bytes:
        os.utime(pets / "train/cat/4.png", ns=(1, 1))
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", edited)
    with pytest.raises(FileError, match="pets: was changed while it was read; prepare it again"):
        prepare(f"folder:{pets}", data_folder)
    assert not list(data_folder.rglob("*.array_record*"))


def _cut(root: Path) -> None:
    file = root / "train/cat/2.png"
    file.write_bytes(file.read_bytes()[:-20])


def _link(root: Path, goal: str) -> None:
    (root / "train/cat/link.png").symlink_to(goal)


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (_cut, r"train/cat/2\.png: is not an image, or is damaged \(.*\); mend it or take it away"),
    (
        lambda r: (r / "train/cat/2.png").write_text("words"),
        r"cat/2\.png: is not an image, or is damaged \(cannot ident",
    ),
    (lambda r: (r / "train/cat/notes.txt").touch(), r"notes\.txt: is no image file \(\.png, .*\); take it out"),
    (lambda r: (r / "train/empty").mkdir(), r"train/empty: is a class without an image; add some or delete"),
    (lambda r: picture(r / "val/bird/0.png", 1), r"pets: split validation alone has the class 'bird'"),
    (lambda r: picture(r / "train/bird/0.png", 1), r"pets: split validation lacks the class 'bird'"),
    (lambda r: picture(r / "bird/0.png", 1), r"holds 'train', a split, beside 'bird', a class; expected one or the"),
    (lambda r: picture(r / "validation/cat/0.png", 1), r"validation: is the second folder of the split validation"),
    (lambda r: picture(r / "train/0.png", 1), r"train/0\.png: lies in no class's folder; expected PATH/CLASS/FILE"),
    (lambda r: _link(r, "/etc/hostname"), r"cat/link\.png: is a link out of .*pets; copy what it points to"),
    (lambda r: _link(r, "../dog"), r"cat/link\.png: is a link to a folder, or to nothing; copy what it points to"),
    (lambda r: (r / "train/cat").rename(r / "train/ cat"), r"(class ' cat'|lacks the class|alone has the class)"),
]


@pytest.mark.parametrize(("spoil", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(pets: Path, data_folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(pets)
    with pytest.raises(FileError, match=message) as caught:
        prepare(f"folder:{pets}", data_folder)
    assert "\n" not in str(caught.value)
    assert not list(data_folder.rglob("*.array_record*"))


def test_links_inside_are_followed(pets: Path, data_folder: Path) -> None:
    _link(pets, "../dog/0.png")
    prepare(f"folder:{pets}", data_folder)
    assert len(open_split(f"folder:{pets}", "train", data_folder)) == 11


def test_one_class_or_none(tmp_path: Path, data_folder: Path) -> None:
    with pytest.raises(FileError, match="nowhere: there is no such folder"):
        describe(f"folder:{tmp_path / 'nowhere'}", data_folder, 9)
    (tmp_path / "one").mkdir()
    with pytest.raises(FileError, match="one: holds no folder of a class"):
        prepare(f"folder:{tmp_path / 'one'}", data_folder)
    picture(tmp_path / "one" / "cat" / "0.png", 1)
    with pytest.raises(FileError, match="one: expected at least two classes, found 1: cat"):
        prepare(f"folder:{tmp_path / 'one'}", data_folder)
