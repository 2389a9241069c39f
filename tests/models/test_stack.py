"""Blocks in a row: kept, computed anew, scanned; and interceptors that add leaves and noise inside them."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import batch, tiny_model

from tlx import tree
from tlx.models import stack
from tlx.models.registry import Model

pytestmark = pytest.mark.thorough

SWITCHES = [(scan, remat) for scan in (False, True) for remat in (False, True)]


class Counter(nn.Module):
    """Writes what a dropout of one half leaves of ones, as a digit of base 4: the first block the lowest."""

    @nn.compact
    def __call__(self, x: dict[str, jax.Array], train: bool = False) -> dict[str, jax.Array]:
        digit = nn.Dropout(0.5)(jnp.ones_like(x["sum"]), deterministic=not train)
        return {"sum": x["sum"] + digit * x["unit"], "unit": x["unit"] * 4.0}


class Row(nn.Module):
    scan: bool
    remat: bool

    def setup(self) -> None:
        if self.scan:
            self.blocks = Counter()
        else:
            self.block = [Counter() for _ in range(4)]

    def __call__(self, unit: Any, train: bool) -> jax.Array:
        x = {"sum": jnp.zeros(200), "unit": jnp.asarray(unit, jnp.float32)}
        if self.scan:
            return stack.scanned(self.blocks, 4, train, self.remat)(x)["sum"]
        for stage in stack.unrolled(self.block, train, self.remat):
            x = stage(x)
        return x["sum"]


@pytest.mark.parametrize(("scan", "remat"), SWITCHES)
def test_each_block_draws_its_own_noise(scan: bool, remat: bool) -> None:
    row, rngs = Row(scan, remat), {"dropout": jax.random.key(0)}
    # Without noise every digit is 1.
    assert np.array_equal(row.apply({}, 1.0, False), np.full(200, 1 + 4 + 16 + 64))
    drawn = np.asarray(row.apply({}, 1.0, True, rngs=rngs)).astype(int)
    digits = [drawn // 4**i % 4 for i in range(4)]
    assert all(set(digit) == {0, 2} for digit in digits)
    assert len({digit.tobytes() for digit in digits}) == 4
    # The sum is linear in the unit: its slope is itself, if the backward pass draws the same noise again.
    slope = jax.grad(lambda unit: jnp.sum(row.apply({}, unit, True, rngs=rngs)))(1.0)
    assert slope == float(np.sum(drawn))


def side_path(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Adds a low-rank path to every query layer, as an adapter would."""
    module = context.module
    out = layer(*args, **kwargs)
    if context.method_name != "__call__" or module.name != "query":
        return out
    a_IR = module.variable(
        "adapters", "a", lambda: jax.random.normal(module.make_rng("adapters"), (args[0].shape[-1], 2))
    ).value
    b_RO = module.variable("adapters", "b", lambda: jnp.ones((2, module.features))).value
    return out + (args[0] @ a_IR) @ b_RO


def added(model: Model) -> dict[str, Any]:
    """The leaves that the side paths add."""
    base = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(model.init, 0))

    def add(key: jax.Array) -> Any:
        with nn.intercept_methods(side_path):
            return model.module.apply(base, model.example(), mutable=["adapters"], rngs={"adapters": key})[1]

    return jax.jit(add)(jax.random.key(1))["adapters"]


@pytest.mark.parametrize(("scan", "remat"), SWITCHES)
def test_interceptors_may_add_leaves_inside(scan: bool, remat: bool) -> None:
    leaves = tree.flatten(added(tiny_model("bert", scan=scan, remat=remat)))
    blocks = {"blocks": (2,)} if scan else {"block_0": (), "block_1": ()}
    assert {path: leaf.shape for path, leaf in leaves.items()} == {
        f"{block}/attention/query/{name}": lead + shape
        for block, lead in blocks.items()
        for name, shape in {"a": (16, 2), "b": (2, 16)}.items()
    }
    drawn = leaves["blocks/attention/query/a"] if scan else [leaves[f"{b}/attention/query/a"] for b in blocks]
    assert not np.array_equal(drawn[0], drawn[1])


@functools.cache
def reference(name: str) -> tuple[Any, Any]:
    """Leaves of a model of two blocks, side paths included, and the gradients of its loss in them."""
    model = tiny_model(name)
    rng = np.random.default_rng(0)
    shapes = {**jax.eval_shape(model.init, 0), "adapters": added(model)}
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)
    return variables, gradients(model, variables)


def gradients(model: Model, variables: Any) -> Any:
    x = batch(model)["input"]

    def loss(variables: Any) -> jax.Array:
        with nn.intercept_methods(side_path):
            return jnp.mean(model.module.apply(variables, x) ** 2)

    return jax.jit(jax.grad(loss))(variables)


def stack_blocks(nested: dict[str, Any]) -> dict[str, Any]:
    def stacked(leaves: dict[str, Any]) -> dict[str, Any]:
        rest = {name: leaf for name, leaf in leaves.items() if name not in ("block_0", "block_1")}
        return {**rest, "blocks": jax.tree.map(lambda *two: jnp.stack(two), leaves["block_0"], leaves["block_1"])}

    return {collection: stacked(leaves) for collection, leaves in nested.items()}


@pytest.mark.parametrize(
    ("name", "scan", "remat"),
    [("vit", False, True), ("vit", True, False), ("vit", True, True), ("bert", True, True)],
)
def test_gradients_of_added_leaves_do_not_depend_on_the_switches(name: str, scan: bool, remat: bool) -> None:
    variables, expected = map(stack_blocks, reference(name)) if scan else reference(name)
    found = tree.flatten(gradients(tiny_model(name, scan=scan, remat=remat), variables))
    adapters = [path for path in found if path.startswith("adapters/")]
    assert adapters and all(np.any(found[path]) for path in adapters)
    for path, leaf in tree.flatten(expected).items():
        np.testing.assert_allclose(found[path], leaf, atol=5e-6, err_msg=path)


def gradient_of(model: Model) -> Any:
    """The program of a gradient, before it is compiled."""
    variables, x = jax.eval_shape(lambda: model.init(0)), model.example(2)
    return jax.make_jaxpr(jax.grad(lambda v: jnp.sum(model.module.apply(v, x))))(variables)


def operations(model: Model) -> list[str]:
    """Names of the outermost operations of a gradient."""
    return [equation.primitive.name for equation in gradient_of(model).jaxpr.eqns]


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_a_scanned_program_does_not_grow_with_the_depth(name: str) -> None:
    two, five = (operations(tiny_model(name, scan=True, depth=depth)) for depth in (2, 5))
    assert two.count("scan") == 2 and sorted(two) == sorted(five)
    assert len(operations(tiny_model(name, depth=5))) > len(operations(tiny_model(name, depth=2)))


@pytest.mark.parametrize(
    ("name", "switches", "times"),
    [
        ("vit", {}, 2),
        ("bert", {}, 2),
        ("resnet", {}, 2),
        ("bit", {}, 2),
        ("efficientnet", {}, 2),
        ("vit", {"scan": True}, 1),
        ("bert", {"scan": True}, 1),
    ],
)
def test_remat_computes_every_block_anew(name: str, switches: dict[str, bool], times: int) -> None:
    """Once in the program for each block, or once inside the scan over all of them."""
    kept, anew = (str(gradient_of(tiny_model(name, remat=remat, **switches))) for remat in (False, True))
    assert (kept.count(" remat2["), anew.count(" remat2[")) == (0, times)
