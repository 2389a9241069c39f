"""Arrays mapped from files: whole or not there, and never used damaged."""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

from tlx import atomic, mapped
from tlx.errors import FileError
from tlx.mapped import DamagedError

SIZE = 7


def nested() -> dict[str, Any]:
    """What stages of text models hand on, and more."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(SIZE, 3, 4)).astype(np.float32)
    return {
        "hidden": hidden,
        "own": {"mask": rng.random((SIZE, 3)) < 0.5, "low": hidden.astype(ml_dtypes.bfloat16)},
        "id": np.arange(SIZE, dtype=np.int32),
    }


def batches(whole: Any, batch: int = 3) -> Iterator[Any]:
    for start in range(0, SIZE, batch):
        yield jax.tree.map(lambda leaf: leaf[start : start + batch], whole)  # noqa: B023


def saved(folder: Path) -> Path:
    mapped.save(folder, batches(nested()), SIZE, {"flops": 0.1})
    return folder


def test_nested_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    found = mapped.load(saved(tmp_path / "deep" / "one"))
    whole = nested()
    assert found.meta == {"flops": 0.1}
    assert jax.tree.structure(found.arrays) == jax.tree.structure(whole)
    for mine, leaf in zip(jax.tree.leaves(found.arrays), jax.tree.leaves(whole), strict=True):
        assert mine.dtype == leaf.dtype and type(mine) is np.ndarray and not mine.flags.writeable
        np.testing.assert_array_equal(mine, leaf)
    assert sorted(path.name for path in (tmp_path / "deep" / "one").iterdir()) == [
        *(f"{i}.npy" for i in range(4)),
        "manifest.json",
    ]


def test_an_array_alone_comes_back_alone_and_others_can_read_its_file(tmp_path: Path) -> None:
    x_ND = np.arange(2.0 * SIZE).reshape(SIZE, 2)
    mapped.save(tmp_path / "one", batches(x_ND), SIZE, {})
    np.testing.assert_array_equal(mapped.load(tmp_path / "one").arrays, x_ND)
    np.testing.assert_array_equal(np.load(tmp_path / "one" / "0.npy", allow_pickle=False), x_ND)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [cut_off, flipped, zeroed, Path.unlink])
@pytest.mark.parametrize("name", ["0.npy", "3.npy", "manifest.json"])
def test_every_damage_is_noticed(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    folder = saved(tmp_path / "one")
    damage(folder / name)
    with pytest.raises(DamagedError, match=rf"^{re.escape(str(folder))}: is damaged: {re.escape(name)}"):
        mapped.load(folder)


def test_what_would_run_code_is_refused(tmp_path: Path) -> None:
    folder, manifest = saved(tmp_path / "one"), tmp_path / "one" / "manifest.json"
    np.save(folder / "0.npy", np.array([{"code": 1}], object), allow_pickle=True)
    content = atomic.read_json(manifest)
    del content["digest"]

    content["leaves"]["hidden"]["sha256"] = hashlib.sha256((folder / "0.npy").read_bytes()).hexdigest()
    atomic.write_json(manifest, {**content, "digest": atomic.digest_json(content)})
    with pytest.raises(DamagedError, match=r"0\.npy holds no numbers"):
        mapped.load(folder)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "one")
    content = atomic.read_json(folder / "manifest.json") | {"format": 99}
    del content["digest"]
    atomic.write_json(folder / "manifest.json", {**content, "digest": atomic.digest_json(content)})
    with pytest.raises(FileError, match="has format 99, this tlx knows format 1; update tlx"):
        mapped.load(folder)
    with pytest.raises(FileError, match="there is no such folder"):
        mapped.load(tmp_path / "two")


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, reason: int) -> None:
    def failing() -> Iterator[Any]:
        yield from list(batches(nested()))[:2]
        raise OSError(reason, os.strerror(reason))

    with pytest.raises(FileError, match=f"one: could not be written: {os.strerror(reason)}"):
        mapped.save(tmp_path / "one", failing(), SIZE, {})
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    folder = saved(tmp_path / "one")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(FileError, match="exists already"):
        mapped.save(folder, batches(np.zeros(SIZE)), SIZE, {})
    assert (folder / "manifest.json").read_bytes() == before


def test_too_few_examples_are_no_whole(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        mapped.save(tmp_path / "one", iter([np.zeros(SIZE - 1)]), SIZE, {})
    assert list(tmp_path.iterdir()) == []
