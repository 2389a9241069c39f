"""Blocks in a row: kept, computed anew, scanned; and interceptors that add leaves and noise inside them."""

from collections.abc import Iterator
from contextlib import contextmanager
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

    def __call__(self, train: bool) -> jax.Array:
        x = {"sum": jnp.zeros(200), "unit": jnp.ones(())}
        if self.scan:
            return stack.scanned(self.blocks, 4, train, self.remat)(x)["sum"]
        for stage in stack.unrolled(self.block, train, self.remat):
            x = stage(x)
        return x["sum"]


@pytest.mark.parametrize(("scan", "remat"), SWITCHES)
def test_each_block_draws_its_own_noise(scan: bool, remat: bool) -> None:
    row = Row(scan, remat)
    # Without noise every digit is 1.
    assert np.array_equal(row.apply({}, False), np.full(200, 1 + 4 + 16 + 64))
    drawn = np.asarray(row.apply({}, True, rngs={"dropout": jax.random.key(0)})).astype(int)
    digits = [drawn // 4**i % 4 for i in range(4)]
    assert all(set(digit) == {0, 2} for digit in digits)
    assert len({digit.tobytes() for digit in digits}) == 4


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


@contextmanager
def adapted(model: Model) -> Iterator[tuple[dict[str, Any], Any]]:
    """Variables with the side paths' leaves, and a loss that sees them."""
    base, x = model.init(0), batch(model)["input"]
    with nn.intercept_methods(side_path):
        rngs = {"adapters": jax.random.key(1)}
        _, added = model.module.apply(base, x, mutable=["adapters"], rngs=rngs)
        yield {**base, **added}, lambda v: jnp.sum(model.module.apply(v, x) ** 2)


@pytest.mark.parametrize(("scan", "remat"), SWITCHES)
@pytest.mark.parametrize("name", ["vit", "bert"])
def test_interceptors_may_add_leaves_inside(name: str, scan: bool, remat: bool) -> None:
    with adapted(tiny_model(name, scan=scan, remat=remat)) as (variables, loss):
        shapes = {path: leaf.shape for path, leaf in tree.flatten(variables["adapters"]).items()}
        grads = jax.jit(jax.grad(loss))(variables)["adapters"]
    own = {"a": (16, 2), "b": (2, 16)}
    blocks = {"blocks": (2,)} if scan else {"block_0": (), "block_1": ()}
    assert shapes == {
        f"{block}/attention/query/{leaf}": lead + own[leaf] for block, lead in blocks.items() for leaf in own
    }
    assert all(np.all(np.isfinite(leaf)) and np.any(leaf) for leaf in jax.tree.leaves(grads))
    leaves = tree.flatten(variables["adapters"])
    drawn = leaves["blocks/attention/query/a"] if scan else [leaves[f"{b}/attention/query/a"] for b in blocks]
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_gradients_of_added_leaves_do_not_depend_on_the_switches(name: str) -> None:
    with adapted(tiny_model(name)) as (variables, loss):
        expected = jax.grad(loss)(variables)
    stacked = {c: stack_blocks(leaves) for c, leaves in variables.items()}
    expected_stacked = {c: stack_blocks(leaves) for c, leaves in expected.items()}
    for scan, remat in SWITCHES[1:]:
        given, wanted = (stacked, expected_stacked) if scan else (variables, expected)
        with adapted(tiny_model(name, scan=scan, remat=remat)) as (_, loss):
            grads = tree.flatten(jax.grad(loss)(given))
        for path, leaf in tree.flatten(wanted).items():
            np.testing.assert_allclose(grads[path], leaf, atol=2e-5, err_msg=path)


def stack_blocks(leaves: dict[str, Any]) -> dict[str, Any]:
    blocks = [leaves[name] for name in ("block_0", "block_1")]
    rest = {name: leaf for name, leaf in leaves.items() if name not in ("block_0", "block_1")}
    return {**rest, "blocks": jax.tree.map(lambda *each: jnp.stack(each), *blocks)}


def operations(model: Model) -> list[str]:
    """Names of the outermost operations of a gradient."""
    variables, x = jax.eval_shape(lambda: model.init(0)), model.example(2)
    jaxpr = jax.make_jaxpr(jax.grad(lambda v: jnp.sum(model.module.apply(v, x))))(variables)
    return [equation.primitive.name for equation in jaxpr.jaxpr.eqns]


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_a_scanned_program_does_not_grow_with_the_depth(name: str) -> None:
    two, five = (operations(tiny_model(name, scan=True, depth=depth)) for depth in (2, 5))
    assert two.count("scan") == 2 and sorted(two) == sorted(five)
    assert len(operations(tiny_model(name, depth=5))) > len(operations(tiny_model(name, depth=2)))


@pytest.mark.parametrize("name", ["vit", "bert", "resnet"])
def test_remat_computes_every_block_anew(name: str) -> None:
    kept, anew = (operations(tiny_model(name, remat=remat)) for remat in (False, True))
    names = [operation for operation in anew if operation not in set(kept)]
    assert names == ["remat2"] * 2 or names == ["checkpoint"] * 2
