"""A folder of image files, one folder to a class."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tlx.data.builders.own import SPLITS, Content, Part, class_label
from tlx.data.images import header, verified
from tlx.data.schemes import Address
from tlx.errors import FileError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def files(address: Address) -> tuple[Path, list[Path]]:
    """Every image file of a folder.

    Args:
      address: of the folder.

    Returns:
      The folder, and the files in it.

    Raises:
      FileError: there is no such folder, or something in it is neither an image nor a folder of some.
    """
    root = _root(address)
    return root, [file for classes in _splits(root).values() for found in classes.values() for file in found]


def content(address: Address) -> Content:
    """The images and their classes.

    Args:
      address: of `PATH/SPLIT/CLASS/FILE`, where every SPLIT is called train, test or validation, or of
        `PATH/CLASS/FILE`, which is then all `train`. Between CLASS and FILE there may be further folders.

    Returns:
      Images of the size they all have, or else of any; gray if all are. The classes are in alphabetical order.

    Raises:
      FileError: a class is empty, a split lacks one or has another, or a file cannot be read as an image.
    """
    root = _root(address)
    splits = _splits(root)
    names = sorted(splits["train"] if "train" in splits else next(iter(splits.values())))
    label = class_label(root, names)
    for split, classes in splits.items():
        for name in set(names) ^ set(classes):
            raise FileError(root, f"split {split} {'lacks' if name in names else 'alone has'} the class {name!r}")
    every = [file for classes in splits.values() for found in classes.values() for file in found]
    shape = common_shape((file, partial(file.open, "rb")) for file in every)
    features = {"image": tfds.features.Image(shape=shape), "label": label}
    parts = {split: _part(classes, names) for split, classes in splits.items()}
    return Content(features, parts)


def common_shape(images: Iterable[tuple[Path | str, Callable[[], Any]]]) -> tuple[int | None, int | None, int]:
    """The shape that images have in common, from their headers.

    Args:
      images: what each is called in a message, and what opens it.

    Returns:
      Rows and columns, None where they differ, and channels: 1 if all are gray, else 3.

    Raises:
      FileError: one is no image.
    """
    sizes, coloured = set(), False
    for image, opened in images:
        with opened() as file:
            rows, columns, colours = readable(image, partial(header, file))
        sizes.add((rows, columns))
        coloured |= colours
    common = sizes.pop() if len(sizes) == 1 else (None, None)
    return (*common, 3 if coloured else 1)


def readable(image: Path | str, read: Callable[[], Any]) -> Any:
    """What a function makes of an image, its errors in one line.

    Args:
      image: which one, for the message.
      read: is called.

    Raises:
      FileError: the image is damaged, is none, or is too large.
    """
    try:
        return read()
    except Exception as error:  # Pillow's readers raise almost anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FileError(image, f"is not an image, or is damaged ({reason}); mend it or take it away") from error


def _part(classes: dict[str, list[Path]], names: list[str]) -> Part:
    listed = [(file, label) for label, name in enumerate(names) for file in classes[name]]

    def example(position: int) -> dict[str, Any]:
        file, label = listed[position]
        return {"image": readable(file, lambda: verified(file.read_bytes())), "label": label}

    return Part(len(listed), example, [label for _, label in listed])


def _root(address: Address) -> Path:
    root = Path(address.rest).expanduser()
    if not root.is_dir():
        raise FileError(root, "there is no such folder")
    return root


def _splits(root: Path) -> dict[str, dict[str, list[Path]]]:
    """Split to class to files, each in alphabetical order."""
    top = _folders(root, root)
    named = [path for path in top if path.name in SPLITS]
    if not named:
        return {"train": {path.name: _images(path, root) for path in top}}
    if len(named) < len(top):
        other = next(path.name for path in top if path not in named)
        raise FileError(root, f"holds {named[0].name!r}, a split, beside {other!r}, a class; expected one or the other")
    splits: dict[str, dict[str, list[Path]]] = {}
    for path in named:
        if SPLITS[path.name] in splits:
            raise FileError(path, f"is the second folder of the split {SPLITS[path.name]}; expected one")
        splits[SPLITS[path.name]] = {inner.name: _images(inner, root) for inner in _folders(path, root)}
    return splits


def _folders(folder: Path, root: Path) -> list[Path]:
    inside = _listed(folder, root)
    for path in inside:
        if not path.is_dir() and path.suffix.lower() in _ENDINGS:
            raise FileError(path, "lies in no class's folder; expected PATH/CLASS/FILE or PATH/SPLIT/CLASS/FILE")
    folders = [path for path in inside if path.is_dir()]
    if not folders:
        raise FileError(folder, "holds no folder of a class")
    return folders


def _images(folder: Path, root: Path) -> list[Path]:
    """The files of one class."""
    found, waiting = [], [folder]
    while waiting:
        for path in _listed(waiting.pop(), root):
            if path.is_dir():
                waiting.append(path)
            elif path.suffix.lower() in _ENDINGS:
                found.append(path)
            else:
                raise FileError(path, f"is no image file ({', '.join(_ENDINGS)}); take it out of the folder")
    if not found:
        raise FileError(folder, "is a class without an image; add some or delete the folder")
    return sorted(found)


def _listed(folder: Path, root: Path) -> list[Path]:
    """What is in a folder, without hidden files."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FileError(folder, f"cannot be read: {error.strerror}") from None
    for path in paths:
        if path.is_symlink():
            goal = Path(os.path.realpath(path))
            if not goal.is_relative_to(root.resolve()):
                raise FileError(path, f"is a link out of {root}; copy what it points to")
            if not goal.is_file():
                raise FileError(path, "is a link to a folder, or to nothing; copy what it points to")
    return paths
