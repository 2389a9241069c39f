"""PyTorch's `.pth` state dicts, read without PyTorch and without running anything in them.

A `.pth` file is a pickle, which is a program: to load it is to run it. This reads the program as text. `pickletools`
takes it apart without executing it, and the few operations that a dict of tensors needs are carried out here, on plain
values, for a fixed list of names; any other name or operation is refused. Both layouts are read: the zip archive of
PyTorch 1.6 and later, and the row of pickles before it.

Source: the layouts are those that `torch.save` writes (`torch/serialization.py`, version 2.13).
"""

import functools
import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from tlx.errors import FileError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP_MAGIC = b"PK\x03\x04"
_DTYPES: dict[str, Any] = {
    "torch.FloatStorage": np.float32,
    "torch.DoubleStorage": np.float64,
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ShortStorage": np.int16,
    "torch.CharStorage": np.int8,
    "torch.ByteStorage": np.uint8,
    "torch.BoolStorage": np.bool_,
}
_DICT, _TENSOR, _PARAMETER = (
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
)
_NAMES = {*_DTYPES, _DICT, _TENSOR, _PARAMETER}
# Where training scripts put the weights among other things.
_WRAPPED = ("state_dict", "model", "model_state_dict")
_SHOWN = 80  # characters of a name that a message repeats
_HINT = "save model.state_dict() alone, or as safetensors"


class _Refused(ValueError):
    """The file is not a plain dict of tensors."""


@dataclass(frozen=True)
class _Name:
    """A class or function the file names; never looked up."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """Numbers somewhere in the file."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _View:
    """A tensor: a view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where a group begins on the stack."""


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict.

    Args:
      path: of a `.pth`, `.pt` or `.bin` file that `torch.save(model.state_dict(), path)` wrote.

    Returns:
      Name to array, in the file's order; not to be written to.

    Raises:
      FileError: the file is damaged, or holds anything but named tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == _ZIP_MAGIC
            file.seek(0)
            views, read = _open_zip(file) if is_zip else _open_legacy(file)
            return {name: _array(view, read(view.storage)) for name, view in _tensors(views)}
    except FileNotFoundError:
        raise FileError(path, "there is no such file") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from None
    except _Refused as error:
        raise FileError(path, f"{error}; {_HINT}") from None
    except Exception as error:  # whatever a damaged file makes of the reader: nothing in it was run
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FileError(path, f"is not a PyTorch state dict, or is damaged ({reason})") from None


def _tensors(value: Any) -> Iterator[tuple[str, _View]]:
    if isinstance(value, dict):
        for key in _WRAPPED:
            if isinstance(value.get(key), dict):
                value = value[key]
                break
    if not isinstance(value, dict) or not value:
        raise _Refused("holds no dict of tensors")
    for name, view in value.items():
        if not isinstance(name, str) or not isinstance(view, _View):
            raise _Refused(f"holds something besides tensors, under {name!r}")
        yield name, view


def _array(view: _View, flat: np.ndarray) -> np.ndarray:
    # The types first: a list times a number is a list of any length.
    if any(type(number) is not int or number < 0 for number in (view.offset, *view.shape, *view.strides)):
        raise _Refused("holds a tensor whose shape is not one")
    reach = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    # A stride of 0 would make many numbers of one; a small file cannot become a large array.
    if math.prod(view.shape) > len(flat) or not (reach < len(flat) or 0 in view.shape):
        raise _Refused("holds a tensor that reaches beyond its numbers")
    strides = [stride * flat.itemsize for stride in view.strides]
    # No copy: a thousand views of one storage would be a thousand times the file.
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False)


def _open_zip(file: IO[bytes]) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    archive = zipfile.ZipFile(file)
    (main,) = (name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl")
    folder = main.removesuffix("data.pkl")
    _check_stored(archive.getinfo(main))
    if (order := f"{folder}byteorder") in archive.namelist():
        _check_stored(archive.getinfo(order))
        if archive.read(order) != b"little":
            raise _Refused("was written on a big-endian machine")

    @functools.cache
    def read(storage: _Storage) -> np.ndarray:
        info = archive.getinfo(f"{folder}data/{storage.key}")
        _check_stored(info)
        if info.file_size != storage.count * storage.dtype.itemsize:
            raise _Refused(f"has a storage {storage.key} of an unexpected size")
        return np.frombuffer(archive.read(info), storage.dtype)

    return _run(io.BytesIO(archive.read(main))), read


def _check_stored(info: zipfile.ZipInfo) -> None:
    # A few compressed bytes can become any number.
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise _Refused(f"holds {info.filename!r} compressed, as torch.save never does")


def _open_legacy(file: IO[bytes]) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    if _run(file) != _LEGACY_MAGIC:
        raise _Refused("is not written by torch.save")
    _run(file)  # the version of the format
    if not _run(file).get("little_endian", True):
        raise _Refused("was written on a big-endian machine")
    value, keys = _run(file), _run(file)
    used = {view.storage.key: view.storage for _, view in _tensors(value)}
    flat: dict[str, np.ndarray] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        if type(key) is not str or key not in used or count != used[key].count:
            raise _Refused(f"has a storage {key} of an unexpected size")
        data = file.read(count * used[key].dtype.itemsize)
        flat[key] = np.frombuffer(data, used[key].dtype, count)
    return value, lambda storage: flat[storage.key]


def _run(file: IO[bytes]) -> Any:
    """The value that one pickle describes."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name == "STOP":
            return stack.pop()
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_named(argument.replace(" ", ".", 1)))
        elif name in _ON_STACK:
            _ON_STACK[name](stack)
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(f"asks for the operation {name}, which no dict of tensors needs")
    raise _Refused("ends too early")


def _named(text: str) -> _Name:
    if text not in _NAMES:
        raise _Refused(f"names {text[:_SHOWN]!r}, which no dict of tensors needs")
    return _Name(text)


def _group(stack: list[Any]) -> list[Any]:
    """What was put on the stack since the last mark."""
    group: list[Any] = []
    while not isinstance(item := stack.pop(), _Mark):
        group.append(item)
    return group[::-1]


def _tuple(size: int | None) -> Callable[[list[Any]], None]:
    def make(stack: list[Any]) -> None:
        items = _group(stack) if size is None else [stack.pop() for _ in range(size)][::-1]
        stack.append(tuple(items))

    return make


def _set_items(stack: list[Any]) -> None:
    items = _group(stack)
    _put(stack[-1], zip(items[::2], items[1::2], strict=True))


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _put(stack[-1], [(key, value)])


def _put(target: Any, items: Iterable[tuple[Any, Any]]) -> Any:
    # Other keys are of no use, and to hash one that is nested deeply enough would crash the interpreter.
    for key, value in items:
        if type(target) is not dict or type(key) not in (str, int):
            raise _Refused("holds something besides tensors under names")
        target[key] = value
    return target


def _append(stack: list[Any]) -> None:
    value = stack.pop()
    stack[-1].append(value)


def _appends(stack: list[Any]) -> None:
    items = _group(stack)
    stack[-1].extend(items)


def _stack_global(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    if type(name) is not str or type(module) is not str:
        raise _Refused("names something by no name")
    stack.append(_named(f"{module}.{name}"))


def _build(stack: list[Any]) -> None:
    # The attributes of an OrderedDict: version numbers of modules, of no use here.
    state = stack.pop()
    if not isinstance(stack[-1], dict) or not isinstance(state, dict):
        raise _Refused("sets attributes of something besides a dict")


def _persistent(stack: list[Any]) -> None:
    kind, dtype, key, _, count, *_ = stack.pop()
    if kind != "storage" or dtype.text not in _DTYPES or type(key) is not str or type(count) is not int or count < 0:
        raise _Refused("refers to something besides numbers")
    stack.append(_Storage(key, np.dtype(_DTYPES[dtype.text]), count))


def _reduce(stack: list[Any]) -> None:
    arguments, name = stack.pop(), stack.pop()
    if name == _Name(_DICT):
        stack.append(_put({}, *arguments) if arguments else {})
    elif name == _Name(_PARAMETER) and isinstance(arguments[0], _View):
        stack.append(arguments[0])
    elif name == _Name(_TENSOR) and isinstance(arguments[0], _Storage):
        storage, offset, shape, strides, *_ = arguments
        stack.append(_View(storage, offset, tuple(shape), tuple(strides)))
    else:
        raise _Refused("calls something that no dict of tensors needs")


_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "MARK": _Mark,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "STRING", "SHORT_BINSTRING", "BINSTRING"),
}
_ON_STACK: Mapping[str, Callable[[list[Any]], None]] = {
    "TUPLE": _tuple(None),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "APPEND": _append,
    "APPENDS": _appends,
    "STACK_GLOBAL": _stack_global,
    "BUILD": _build,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
}
