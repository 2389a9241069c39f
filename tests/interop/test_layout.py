"""A layout walked both ways: what each tensor becomes, and every way in which a file can fail to fit."""

import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tlx import tree
from tlx.errors import FileError, RuleError
from tlx.interop.layout import Layout, Tensor, batch_norm, conv, dense, load, norm, save

Arrays = dict[str, np.ndarray]
D = 4
LAYOUT = Layout(
    tensors=(
        Tensor("table", ("params/embed/table",)),
        *dense("net.up", "params/block_0/up"),
        *dense("net.plain", "params/block_0/plain", bias=False),
        *conv("net.conv", "params/block_0/conv", bias=True),
        *norm("net.norm", "params/block_0/norm"),
        *batch_norm("net.bn", "block_0/bn"),
        Tensor(
            "net.qkv",
            tuple(f"params/block_0/{name}" for name in ("query", "key", "value")),
            "(s n k) i -> s i n k",
            (("s", 3), ("n", 2)),
        ),
        Tensor("scale", ("params/head/scale",)),
        *dense("top", "params/head"),
    ),
    spellings=((r"(.*)\.gamma", r"\1.weight"), (r"model\.(.*)", r"\1")),
    buffers=(r".*\.num_batches_tracked",),
    unused=(r"other\..*",),
    may_lack=("params/block_0/norm/.*", "params/block_0/plain/.*"),
    tied=(("copy", "table"),),
)
SHAPES = {
    "params/embed/table": (7, D),
    "params/block_0/up/kernel": (D, 6),
    "params/block_0/up/bias": (6,),
    "params/block_0/plain/kernel": (D, 3),
    "params/block_0/conv/kernel": (2, 3, D, 5),
    "params/block_0/conv/bias": (5,),
    "params/block_0/norm/scale": (D,),
    "params/block_0/norm/bias": (D,),
    "params/block_0/bn/scale": (5,),
    "params/block_0/bn/bias": (5,),
    "batch_stats/block_0/bn/mean": (5,),
    "batch_stats/block_0/bn/var": (5,),
    "params/block_0/query": (D, 2, 3),
    "params/block_0/key": (D, 2, 3),
    "params/block_0/value": (D, 2, 3),
    "params/head/scale": (),
    "params/head/kernel": (D, 2),
    "params/head/bias": (2,),
}


def leaves(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return tree.unflatten({path: np.asarray(rng.normal(size=shape), np.float32) for path, shape in SHAPES.items()})


def file() -> Arrays:
    return save(LAYOUT, leaves())


def read(tensors: Arrays, layout: Layout = LAYOUT, reset: tuple[str, ...] = ()) -> tuple[Arrays, Any]:
    found, report = load(layout, "FILE", tensors, leaves(seed=9), reset)
    return tree.flatten(found), report


def refused(tensors: Arrays, message: str, layout: Layout = LAYOUT, **options: Any) -> None:
    with pytest.raises(FileError, match=f"^FILE: {re.escape(message)}$"):
        read(tensors, layout, **options)


def test_what_is_saved_is_loaded_leaf_by_leaf() -> None:
    found, report = read(file())
    wanted = tree.flatten(leaves())
    assert list(found) == list(wanted)
    for path, leaf in found.items():
        assert leaf.dtype == np.float32 and leaf.shape == SHAPES[path] and leaf.flags["C_CONTIGUOUS"], path
        np.testing.assert_array_equal(leaf, wanted[path], err_msg=path)
    assert {row.what for row in report.rows} == {"copied"} and len(report.rows) == len(SHAPES)
    assert report.line() == "read 18 leaves, reset none, left out none"


def test_each_tensor_is_turned_as_pytorch_has_it() -> None:
    tensors, own = file(), tree.flatten(leaves())
    assert all(tensor.flags["C_CONTIGUOUS"] for tensor in tensors.values())
    assert "net.plain.bias" not in tensors and tensors["scale"].shape == ()
    np.testing.assert_array_equal(tensors["net.up.weight"], own["params/block_0/up/kernel"].T)
    np.testing.assert_array_equal(tensors["net.up.bias"], own["params/block_0/up/bias"])
    kernel = own["params/block_0/conv/kernel"]
    assert tensors["net.conv.weight"].shape == (5, D, 2, 3)
    for row in range(2):
        np.testing.assert_array_equal(tensors["net.conv.weight"][:, :, row], kernel[row].transpose(2, 1, 0))
    np.testing.assert_array_equal(tensors["net.norm.weight"], own["params/block_0/norm/scale"])
    np.testing.assert_array_equal(tensors["net.bn.running_var"], own["batch_stats/block_0/bn/var"])
    for s, name in enumerate(("query", "key", "value")):
        rows = tensors["net.qkv"][6 * s : 6 * (s + 1)]
        np.testing.assert_array_equal(rows, own[f"params/block_0/{name}"].reshape(D, 6).T)


def test_other_names_buffers_and_other_heads() -> None:
    tensors = file()
    tensors["model.net.norm.gamma"] = tensors.pop("net.norm.weight")
    tensors["net.bn.num_batches_tracked"] = np.array(3, np.int64)
    tensors["other.weight"] = np.ones((2, 2), np.float32)
    tensors["copy"] = tensors["table"].copy()
    found, report = read(tensors)
    for path, leaf in tree.flatten(leaves()).items():
        np.testing.assert_array_equal(found[path], leaf)
    assert [(row.theirs, row.shape) for row in report.of("left out")] == [("other.weight", (2, 2))]
    assert report.line().endswith("reset none, left out other.weight")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floating_point_numbers_become_float32(dtype: Any) -> None:
    found, report = read({name: tensor.astype(dtype) for name, tensor in file().items()})
    for path, leaf in tree.flatten(leaves()).items():
        assert found[path].dtype == np.float32
        np.testing.assert_array_equal(found[path], leaf.astype(dtype).astype(np.float32))
    assert f"18 of them changed ({np.dtype(dtype).name} to float32)" in report.line()


REQUIRED = [name for name in file() if not name.startswith(("net.norm.", "net.plain."))]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_tensor_that_is_missing_is_named(name: str) -> None:
    tensors = file()
    del tensors[name]
    with pytest.raises(FileError, match=rf"^FILE: has no tensor '{re.escape(name)}', wanted for "):
        read(tensors)


@pytest.mark.parametrize("name", list(file()))
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[..., None],
        lambda x: np.zeros((*x.shape[:-1], x.shape[-1] + 1), x.dtype) if x.ndim else np.zeros(1, x.dtype),
        lambda x: np.zeros((x.shape[0] + 1, *x.shape[1:]), x.dtype) if x.ndim else np.zeros((1, 1), x.dtype),
    ],
    ids=["axis", "wider", "longer"],
)
def test_a_tensor_of_another_shape_is_named(change: Callable[[np.ndarray], np.ndarray], name: str) -> None:
    tensors = {**file(), name: change(file()[name])}
    with pytest.raises(FileError, match=rf"^FILE: tensor '{re.escape(name)}' has shape .*, which does not make '"):
        read(tensors)


def test_what_else_does_not_fit() -> None:
    tensors = file()
    refused({**tensors, "rest": np.ones(2, np.float32)}, "has a tensor 'rest' that the model has no place for")
    refused(
        {**tensors, "net.up.bias": np.ones(6, np.int32)},
        "tensor 'net.up.bias' is int32, expected floating-point numbers",
    )
    refused({**tensors, "model.table": tensors["table"]}, "'table' and 'model.table' are two names of one tensor")
    refused({**tensors, "copy": tensors["table"] + 1}, "tensor 'copy' should equal 'table', to which it is tied")
    renamed = {"tabel" if name == "table" else name: tensor for name, tensor in tensors.items()}
    refused(renamed, "has no tensor 'table', wanted for params/embed/table (did you mean 'tabel'?)")


def test_leaves_that_a_file_may_lack_come_all_together_or_not_at_all() -> None:
    tensors = {name: tensor for name, tensor in file().items() if not name.startswith("net.norm.")}
    found, report = read(tensors)
    fresh = tree.flatten(leaves(seed=9))
    assert [row.ours for row in report.of("reset")] == [f"params/block_0/norm/{name}" for name in ("scale", "bias")]
    for name in ("scale", "bias"):
        np.testing.assert_array_equal(found[f"params/block_0/norm/{name}"], fresh[f"params/block_0/norm/{name}"])
    tensors["net.norm.bias"] = np.ones(D, np.float32)
    refused(
        tensors, "has no tensor 'net.norm.weight', wanted for params/block_0/norm/scale (did you mean 'net.bn.weight'?)"
    )


def test_leaves_that_are_reset_stay_fresh_whatever_the_file_holds() -> None:
    tensors = {**file(), "top.weight": np.ones((99, D), np.float32)}
    found, report = read(tensors, reset=("params/head/(kernel|bias)",))
    fresh, own = tree.flatten(leaves(seed=9)), tree.flatten(leaves())
    for path, leaf in found.items():
        is_fresh = path in ("params/head/kernel", "params/head/bias")
        np.testing.assert_array_equal(leaf, (fresh if is_fresh else own)[path], err_msg=path)
    assert [row.ours for row in report.of("reset")] == ["params/head/kernel", "params/head/bias"]
    with pytest.raises(RuleError, match="^reset rule 'params/haed/.*' matches no parameter$"):
        read(file(), reset=("params/haed/.*",))


def test_a_tensor_may_be_resized_if_it_says_how() -> None:
    def grown(leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.resize(leaf, shape)

    tensors = (Tensor("table", ("params/embed/table",), resize=grown), *LAYOUT.tensors[1:])
    layout = Layout(tensors, unused=LAYOUT.unused)
    found, report = read({**file(), "table": file()["table"][:5]}, layout)
    assert found["params/embed/table"].shape == (7, D)
    (row,) = [row for row in report.rows if row.ours == "params/embed/table"]
    assert row.what == "resized from 5×4"
    refused(
        {**file(), "table": np.ones(28, np.float32)},
        "tensor 'table' has shape (28,), which does not make 'params/embed/table' of (7, 4)",
        layout,
    )
