"""PyTorch's state dicts, read without PyTorch: both layouts, and files made to do harm, none of which is run.

The writers below put the operations of a pickle down one by one, as `torch.save` does.
"""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tlx.errors import FileError
from tlx.interop.files import open_checkpoint
from tlx.interop.pth import read_pth

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
RNG = np.random.default_rng(0)


class Raw(bytes):
    """Operations put into a pickle as they are."""


class View:
    """A tensor: a view of numbers that several may share."""

    def __init__(
        self, flat: np.ndarray, shape: Any, strides: Any, offset: Any = 0, key: str = "0", count: Any = None
    ) -> None:
        self.flat, self.shape, self.strides, self.offset, self.key = flat, shape, strides, offset, key
        self.count = len(flat) if count is None else count


def tensor(array: np.ndarray, key: str = "0") -> View:
    """All of an array, in rows."""
    strides = [stride // array.itemsize for stride in np.ascontiguousarray(array).strides]
    return View(array.reshape(-1), array.shape, strides[: array.ndim], key=key)


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def written(value: Any, legacy: bool = False) -> bytes:
    """The operations that make a value."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, View):
        storage = ("storage", Raw(named("torch", STORAGES[value.flat.dtype.name])), value.key, "cpu", value.count)
        persistent = Raw(written((*storage, None) if legacy else storage) + pickle.BINPERSID)
        empty = Raw(named("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE)
        shape = value.shape if isinstance(value.shape, Raw) else tuple(value.shape)
        strides = value.strides if isinstance(value.strides, Raw) else tuple(value.strides)
        arguments = written((persistent, value.offset, shape, strides, False, empty))
        return named("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.REDUCE
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    if isinstance(value, int):
        size = value.bit_length() // 8 + 1
        return pickle.LONG1 + bytes([size]) + value.to_bytes(size, "little", signed=True)
    if isinstance(value, str):
        return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, dict):
        items = b"".join(written(item, legacy) for pair in value.items() for item in pair)
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    if isinstance(value, tuple):
        return pickle.MARK + b"".join(written(item, legacy) for item in value) + pickle.TUPLE
    if isinstance(value, list):
        return pickle.EMPTY_LIST + pickle.MARK + b"".join(written(item, legacy) for item in value) + pickle.APPENDS
    assert value is None or isinstance(value, float), value
    return pickle.NONE if value is None else pickle.BINFLOAT + struct.pack(">d", value)


def pickled(value: Any, legacy: bool = False) -> bytes:
    return pickle.PROTO + b"\x02" + written(value, legacy) + pickle.STOP


def flats(value: Any) -> dict[str, np.ndarray]:
    """The storages that a value's tensors view."""
    if isinstance(value, View):
        return {value.key: value.flat}
    inner = value.values() if isinstance(value, dict) else ()
    return {key: flat for item in inner for key, flat in flats(item).items()}


def as_zip(path: Path, value: Any, **changes: bytes) -> Path:
    """The layout since PyTorch 1.6; `changes` replace members."""
    members = {"data.pkl": pickled(value), "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": flat.tobytes() for key, flat in flats(value).items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**members, **changes}.items():
            archive.writestr(f"archive/{name}", content)
    return path


def as_legacy(path: Path, value: Any) -> Path:
    """The layout before PyTorch 1.6: a row of pickles, then the numbers."""
    about = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    found = flats(value)
    content = pickled(MAGIC) + pickled(VERSION) + pickled(about) + pickled(value, legacy=True) + pickled([*found])
    path.write_bytes(content + b"".join(struct.pack("<q", len(flat)) + flat.tobytes() for flat in found.values()))
    return path


LAYOUTS: dict[str, Callable[..., Path]] = {"zip": as_zip, "legacy": as_legacy}
layouts = pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)


def numbers(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (RNG.normal(size=shape) * 50).astype(dtype)


def refusal(path: Path) -> str:
    """What is said of a file that is refused: one line, the file first."""
    with pytest.raises(FileError) as caught:
        read_pth(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 500
    return message.removeprefix(f"{path}: ")


@layouts
@pytest.mark.parametrize("dtype", STORAGES)
def test_numbers_of_every_kind(write: Callable[..., Path], dtype: str, tmp_path: Path) -> None:
    array = numbers(3, 4, dtype=getattr(ml_dtypes, dtype, None) or dtype)
    (name, found) = read_pth(write(tmp_path / "a.pth", {"layer.weight": tensor(array)})).popitem()
    assert name == "layer.weight" and found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@layouts
def test_views_of_shared_numbers(write: Callable[..., Path], tmp_path: Path) -> None:
    array = numbers(4, 6)
    flat = array.reshape(-1)
    views = {
        "whole": View(flat, (4, 6), (6, 1)),
        "transposed": View(flat, (6, 4), (1, 6)),
        "column": View(flat, (4,), (6,), offset=2),
        "scalar": View(flat, (), (), offset=9),
        "empty": View(flat, (0, 6), (6, 1)),
        "other": tensor(numbers(2), key="1"),
    }
    found = read_pth(write(tmp_path / "a.pth", views))
    assert [*found] == [*views]
    np.testing.assert_array_equal(found["whole"], array)
    np.testing.assert_array_equal(found["transposed"], array.T)
    np.testing.assert_array_equal(found["column"], array[:, 2])
    assert found["scalar"].shape == () and found["scalar"] == flat[9]
    assert found["empty"].shape == (0, 6)


@layouts
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_weights_among_other_things(write: Callable[..., Path], key: str, tmp_path: Path) -> None:
    array = numbers(2, 3)
    content = {"epoch": 3, "rate": 0.1, "note": None, key: {"a": tensor(array)}, "done": [True, (1, "x")]}
    np.testing.assert_array_equal(read_pth(write(tmp_path / "a.pth", content))["a"], array)


def test_it_opens_as_a_checkpoint(tmp_path: Path) -> None:
    found = open_checkpoint(as_zip(tmp_path / "a.pth", {"a": tensor(numbers(2, 3))}))
    assert found.tensors.shapes == {"a": (2, 3)} and found.config == {}


class Harm:
    """An object whose unpickling would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def harmful(marker: Path) -> dict[str, bytes]:
    """Pickles that would make the marker, by every operation that calls something."""
    command = written(f"touch {marker}")
    system = named("os", "system")
    found = {f"reduce, protocol {i}": pickle.dumps({"a": Harm(marker)}, i) for i in range(6)}
    bodies = {
        "inst": pickle.MARK + command + pickle.INST + b"os\nsystem\n",
        "obj": pickle.MARK + system + command + pickle.OBJ,
        "newobj": system + pickle.MARK + command + pickle.TUPLE + pickle.NEWOBJ,
        "newobj_ex": system + pickle.MARK + command + pickle.TUPLE + pickle.EMPTY_DICT + pickle.NEWOBJ_EX,
        "stack_global": written("os") + written("system") + pickle.STACK_GLOBAL + written((f"touch {marker}",)) + b"R",
        "eval": named("builtins", "eval") + written((f"__import__('os').system('touch {marker}')",)) + b"R",
        "getattr": named("builtins", "getattr") + written((Raw(named("os", "path")), "join")) + b"R",
        "build": pickle.EMPTY_LIST + written({"__setstate__": Raw(system)}) + pickle.BUILD,
        "extension": pickle.EXT1 + b"\x01",
        "persid": pickle.PERSID + b"anything\n",
        "function as dict": named("collections", "OrderedDict") + written((Raw(system),)) + pickle.REDUCE,
        "storage of another name": written(("storage", Raw(system), "0", "cpu", 1)) + pickle.BINPERSID,
    }
    return found | {name: pickle.PROTO + b"\x02" + body + pickle.STOP for name, body in bodies.items()}


@pytest.mark.parametrize("name", harmful(Path("x")))
@layouts
def test_nothing_in_a_file_is_run(write: Callable[..., Path], name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content = harmful(marker)[name]
    if write is as_zip:
        path = as_zip(tmp_path / "a.pth", {}, **{"data.pkl": content})
    else:
        # In place of the first pickle, and in place of the tensors.
        (tmp_path / "a.pth").write_bytes(content)
        refusal(tmp_path / "a.pth")
        path = tmp_path / "b.pth"
        path.write_bytes(pickled(MAGIC) + pickled(VERSION) + pickled({"little_endian": True}) + content)
    refusal(path)
    assert not marker.exists()


def test_the_payloads_would_work(tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    for name in ("reduce, protocol 4", "inst", "obj"):
        pickle.loads(harmful(tmp_path / name.replace(" ", "_").replace(",", ""))[name])
    assert len([*tmp_path.iterdir()]) == 3


@layouts
def test_a_file_that_ends_early(write: Callable[..., Path], tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pth", {"a": tensor(numbers(3, 5)), "b": tensor(numbers(4), key="1")}).read_bytes()
    path = tmp_path / "a.pth"
    for size in {*range(0, len(whole), 7), len(whole) - 1, len(whole) - 4}:
        path.write_bytes(whole[:size])
        refusal(path)


@layouts
def test_a_byte_of_the_tensors_names_that_is_another(write: Callable[..., Path], tmp_path: Path) -> None:
    """Whatever it makes of the file, it is read or refused, and never anything else."""
    whole, path = write(tmp_path / "whole.pth", {"a": tensor(numbers(3, 5))}).read_bytes(), tmp_path / "a.pth"
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read_pth(path)
        except FileError as error:
            assert "\n" not in str(error)


FLAT = numbers(12)
LIST = Raw(written([0] * 50))
IMPOSSIBLE = {
    "a storage reaching too far": (View(FLAT, (4, 4), (4, 1)), "reaches beyond its numbers"),
    "an offset too far": (View(FLAT, (12,), (1,), offset=1), "reaches beyond its numbers"),
    "a stride too long": (View(FLAT, (2,), (12,)), "reaches beyond its numbers"),
    "more numbers than there are": (View(FLAT, (2**40,), (0,)), "reaches beyond its numbers"),
    "a negative offset": (View(FLAT, (2,), (1,), offset=-1), "shape is not one"),
    "a negative size": (View(FLAT, (-2, 3), (3, 1)), "shape is not one"),
    "a negative stride": (View(FLAT, (3,), (-1,), offset=5), "shape is not one"),
    "a size that is no integer": (View(FLAT, (2.0,), (1,)), "shape is not one"),
    "a stride that is a list": (View(FLAT, (2**40,), (LIST,)), "shape is not one"),
    "sizes without strides": (View(FLAT, (3, 4), (4,)), "damaged"),
    "a size beyond all memory": (View(FLAT, (2**200,), (1,)), "reaches beyond its numbers"),
    "a storage of another size": (View(FLAT, (12,), (1,), count=13), "unexpected size"),
    "a storage of less than nothing": (View(FLAT, (12,), (1,), count=-1), "something besides numbers"),
    "a storage without a number of numbers": (View(FLAT, (12,), (1,), count="12"), "something besides numbers"),
}


@layouts
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_tensors_that_cannot_be(write: Callable[..., Path], name: str, tmp_path: Path) -> None:
    view, reason = IMPOSSIBLE[name]
    assert reason in refusal(write(tmp_path / "a.pth", {"a": view}))


DEEP = 100_000
NOT_TENSORS = {
    "a list": ([1, 2], "holds no dict of tensors"),
    "nothing": ({}, "holds no dict of tensors"),
    "a number": ({"a": tensor(FLAT), "epoch": 3}, "besides tensors, under 'epoch'"),
    "a text": ({"a": "b"}, "besides tensors, under 'a'"),
    "a number for a name": ({3: tensor(FLAT)}, "besides tensors, under 3"),
    "a tuple for a name": ({(1, 2): tensor(FLAT)}, "besides tensors under names"),
    "a name of two lines": ({"a\nb": 1}, "under 'a\\nb'"),
    "a class of two lines": (Raw(written("x\ny") + written("z" * 10**6) + pickle.STACK_GLOBAL), "names 'x\\ny.zz"),
    "a class without a name": (Raw(pickle.EMPTY_LIST * 2 + pickle.STACK_GLOBAL), "names something by no name"),
    "more marks than groups": (Raw(pickle.MARK * 3), "holds no dict of tensors"),
    "more groups than marks": (Raw(pickle.TUPLE), "damaged"),
    "what was never put aside": (Raw(pickle.BINGET + b"\x07"), "damaged"),
    "a name deep enough to crash": (
        Raw(pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + pickle.TUPLE1 * DEEP + pickle.NONE + pickle.SETITEM),
        "besides tensors under names",
    ),
    "deep tuples": (Raw(pickle.EMPTY_TUPLE + pickle.TUPLE1 * DEEP), "holds no dict of tensors"),
    "deep lists": (Raw((pickle.EMPTY_LIST + pickle.MARK) * DEEP + pickle.APPENDS * DEEP), "holds no dict of tensors"),
    "a large memo": (
        Raw(pickle.NONE + b"".join(b"r" + struct.pack("<I", i) for i in range(DEEP))),
        "no dict of tensors",
    ),
    "tuples of one another": (Raw(written("ha") + (pickle.DUP + pickle.TUPLE2) * 200), "the operation DUP"),
    "a memo of itself": (
        Raw(written("ha") + b"".join(b"q%ch%ch%c\x86" % (i, i, i) for i in range(200))),
        "holds no dict of tensors",
    ),
}


@layouts
@pytest.mark.parametrize("name", NOT_TENSORS)
def test_what_is_no_dict_of_tensors(write: Callable[..., Path], name: str, tmp_path: Path) -> None:
    content, reason = NOT_TENSORS[name]
    assert reason in refusal(write(tmp_path / "a.pth", content))


def rezipped(path: Path, compressed: str) -> Path:
    """The same archive with one member compressed."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if name == compressed else zipfile.ZIP_STORED)
    return path


@pytest.mark.parametrize("member", ["archive/data.pkl", "archive/data/0", "archive/byteorder"])
def test_a_member_that_would_grow(member: str, tmp_path: Path) -> None:
    path = rezipped(as_zip(tmp_path / "a.pth", {"a": tensor(FLAT)}), member)
    assert f"holds {member!r} compressed" in refusal(path)


@pytest.mark.parametrize("content", [b"", FLAT.tobytes()[:-4], FLAT.tobytes() + b"\0\0\0\0"])
def test_a_member_of_another_size(content: bytes, tmp_path: Path) -> None:
    path = as_zip(tmp_path / "a.pth", {"a": tensor(FLAT)}, **{"data/0": content})
    assert "has a storage 0 of an unexpected size" in refusal(path)


def test_a_member_that_is_not_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled({"a": tensor(FLAT)}))
    assert "archive/data/0" in refusal(tmp_path / "a.pth")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("letter.txt", "hello")
    assert "is not a PyTorch state dict" in refusal(tmp_path / "a.pth")


def test_numbers_of_a_big_endian_machine(tmp_path: Path) -> None:
    assert "big-endian" in refusal(as_zip(tmp_path / "a.pth", {"a": tensor(FLAT)}, byteorder=b"big"))
    about = pickled({"little_endian": False})
    (tmp_path / "b.pth").write_bytes(pickled(MAGIC) + pickled(VERSION) + about + pickled({"a": 1}) + pickled([]))
    assert "big-endian" in refusal(tmp_path / "b.pth")


def test_a_pickle_of_anything(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": 1}))
    assert "is not written by torch.save" in refusal(tmp_path / "a.pth")


def test_many_views_of_one_storage_are_no_larger_than_it(tmp_path: Path) -> None:
    flat = numbers(2**18)
    content = {f"layer{i}": View(flat, (2**18,), (1,)) for i in range(500)}
    found = read_pth(as_zip(tmp_path / "a.pth", content))
    # Half a gigabyte, were each a copy of its own.
    assert len(found) == 500 and len({array.__array_interface__["data"][0] for array in found.values()}) == 1


def test_no_file_at_all(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pth") == "there is no such file"
    assert "cannot be read" in refusal(tmp_path)


def test_the_writers_make_what_pickle_reads() -> None:
    """A check of the writers: what they write of plain values is what pickle itself reads."""
    value = {"a": [1, -2, 2**70, True, None, 0.5], "b": ("x\ny", {3: ()})}
    assert pickle.load(io.BytesIO(pickled(value))) == value
