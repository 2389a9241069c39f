"""Checkpoints on disk: what can be read, and what is refused in one line that names the file."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tlx.errors import FileError
from tlx.interop.files import open_checkpoint, open_safetensors

RNG = np.random.default_rng(0)
ARRAYS = {
    "half": RNG.normal(size=(3, 4)).astype(np.float16),
    "brain": RNG.normal(size=(2, 5)).astype(ml_dtypes.bfloat16),
    "single": RNG.normal(size=(2, 3, 4)).astype(np.float32),
    "scalar": np.array(2.5, np.float32),
    "counter": np.array([7], np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


def shards(folder: Path, weight_map: Any = None) -> Path:
    """Two files and their index."""
    parts = [dict(list(ARRAYS.items())[:3]), dict(list(ARRAYS.items())[3:])]
    places = {}
    for i, part in enumerate(parts):
        save_file(part, folder / f"part{i}.safetensors")
        places |= dict.fromkeys(part, f"part{i}.safetensors")
    index = {"weight_map": places if weight_map is None else {**places, **weight_map}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def assert_all_there(found: Any) -> None:
    assert set(found) == set(ARRAYS) and len(found) == len(ARRAYS)
    for name, array in ARRAYS.items():
        assert found.shapes[name] == array.shape
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(KeyError):
        found["none"]


def refused(path: Path, where: Path, pattern: str) -> None:
    """Opening, or reading all of it, is refused with this message."""
    with pytest.raises(FileError, match=f"^{re.escape(str(where))}: {pattern}$") as caught:
        dict(open_checkpoint(path).tensors)
    assert "\n" not in str(caught.value)


def test_one_file_or_a_folder(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    alone = open_checkpoint(tmp_path / "model.safetensors")
    assert_all_there(alone.tensors)
    assert alone.config == {} and alone.beside("config.json") == {}
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "preprocessor_config.json").write_text('{"size": 8}')
    (tmp_path / "other.safetensors").write_bytes(b"not looked at")
    whole = open_checkpoint(str(tmp_path))
    assert_all_there(whole.tensors)
    assert whole.config == {"model_type": "bert"} and whole.path == tmp_path
    assert whole.beside("preprocessor_config.json") == {"size": 8} and whole.beside("none.json") == {}
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(FileError, match=r"preprocessor_config\.json: expected a JSON object$"):
        whole.beside("preprocessor_config.json")


def test_a_single_file_of_any_name_in_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, tmp_path, "expected one of .* or a single .safetensors file, found none")
    save_file(ARRAYS, tmp_path / "open_clip_model.safetensors")
    assert_all_there(open_checkpoint(tmp_path).tensors)
    save_file(ARRAYS, tmp_path / "another.safetensors")
    refused(tmp_path, tmp_path, "expected one of .* or a single .safetensors file, found several")


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    assert_all_there(open_checkpoint(shards(tmp_path)).tensors)


@pytest.mark.parametrize(
    ("weight_map", "pattern"),
    [
        ({"single": "../part0.safetensors"}, r"names a shard outside its folder: '\.\./part0\.safetensors'"),
        ({"single": "/etc/passwd"}, "names a shard outside its folder: '/etc/passwd'"),
        ({"single": "sub/part0.safetensors"}, "names a shard outside its folder: 'sub/part0.safetensors'"),
        ({"single": "part1.safetensors"}, "says that 'single' is in part1.safetensors, which does not hold it"),
        ({"single": 1}, "has no weight_map of tensor names to files"),
    ],
)
def test_an_index_that_lies(weight_map: Any, pattern: str, tmp_path: Path) -> None:
    folder = shards(tmp_path, weight_map)
    refused(folder, folder / "model.safetensors.index.json", pattern)


def test_an_index_of_missing_or_no_shards(tmp_path: Path) -> None:
    folder = shards(tmp_path)
    (folder / "part1.safetensors").unlink()
    refused(folder, folder / "part1.safetensors", "there is no such file")
    for name in ("..", ""):
        places = {"weight_map": {"single": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(places))
        with pytest.raises(FileError):
            open_checkpoint(folder)
    for text in ("{}", '{"weight_map": []}'):
        (folder / "model.safetensors.index.json").write_text(text)
        refused(folder, folder / "model.safetensors.index.json", "has no weight_map of tensor names to files")
    (folder / "model.safetensors.index.json").write_text("{")
    refused(folder, folder / "model.safetensors.index.json", "is not JSON: .*")


@pytest.mark.parametrize("kept", [0, 4, 8, 40, 200, -1])
def test_a_truncated_safetensors_file(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(ARRAYS, path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, path, r"is not a safetensors file, or is damaged \(.*\)")


def test_a_safetensors_file_with_a_damaged_header(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(ARRAYS, path)
    whole = path.read_bytes()
    damaged: list[Callable[[bytes], bytes]] = [
        lambda raw: b"\xff" * 8 + raw[8:],
        lambda raw: raw.replace(b'"data_offsets"', b'"data_0ffsets"'),
        lambda raw: raw.replace(b"[0,", b"[9,"),
        lambda raw: raw.replace(b'"F32"', b'"Q32"'),
    ]
    for change in damaged:
        assert change(whole) != whole
        path.write_bytes(change(whole))
        refused(path, path, r"is not a safetensors file, or is damaged \(.*\)")
    with pytest.raises(FileError, match="there is no such file"):
        open_safetensors(tmp_path / "none.safetensors")


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    plain = {name: array for name, array in ARRAYS.items() if name != "brain"}
    for name, write in {"plain": np.savez, "packed": np.savez_compressed}.items():
        write(tmp_path / f"{name}.npz", **plain)
        found = open_checkpoint(tmp_path / f"{name}.npz").tensors
        assert found.shapes == {key: array.shape for key, array in plain.items()}
        for key, array in plain.items():
            np.testing.assert_array_equal(found[key], array)


def test_arrays_of_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "sprung"), "w"))

    np.savez(tmp_path / "bad.npz", fine=np.ones(2), objects=np.array([Trap()], dtype=object))
    assert not (tmp_path / "sprung").exists()
    found = open_checkpoint(tmp_path / "bad.npz").tensors
    assert found["fine"].tolist() == [1.0, 1.0]
    refused(tmp_path / "bad.npz", tmp_path / "bad.npz", r"array 'objects' cannot be read \(Object arrays .*\)")
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez_compressed(path, first=RNG.normal(size=(20, 20)), second=np.ones(3))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, path, r"is not an npz file, or is damaged \(.*\)")
    for at in range(40, len(whole), 23):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        # Wherever it is, it is either noticed or beside the point; nothing but a FileError comes out.
        try:
            arrays = dict(open_checkpoint(path).tensors)
        except FileError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert all(np.all(np.isfinite(array)) for array in arrays.values())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
    refused(path, path, r"is not an npz file, or is damaged \(.*\)")
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "array.npy").rename(path)
    refused(path, path, r"is not an npz file, or is damaged \(.*\)")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    refused(tmp_path / "none", tmp_path / "none", "there is no such file or folder")
    (tmp_path / "weights.h5").write_bytes(b"")
    refused(tmp_path / "weights.h5", tmp_path / "weights.h5", "expected a folder, or a .safetensors, .npz or .pth file")
    save_file(ARRAYS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("[]")
    refused(tmp_path, tmp_path / "config.json", "expected a JSON object")
    (tmp_path / "config.json").write_text("nonsense")
    refused(tmp_path, tmp_path / "config.json", "is not JSON: .*")
