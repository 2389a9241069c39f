"""The frozen stages below the cut, run once per example and kept."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.data.ops.pipeline import NO_OPS, Pipeline
from tlx.loop import Programs
from tlx.sharding import Placement

# Stands for a model without adapters.
_PLAIN = "full"


def below(adapted: Adapted, depth: int) -> Adapted:
    """The same model as far as the stages below the cut can tell.

    Methods that do nothing there are left out, so that all who share a cut share the program and its activations.

    Args:
      adapted: the model and its methods.
      depth: index of the first stage above the cut.

    Returns:
      A model for `apply(..., last=depth)`; its labels mean nothing.
    """
    plain = Adapted(adapted.model, _PLAIN, precision=adapted.precision)
    touching = any(method.interceptor or method.around or method.rewrite for method, _ in adapted.parts)
    if not touching or _traced(adapted, adapted, depth) == _traced(plain, adapted, depth):
        return plain
    return replace(adapted, stats="auto")


def leaves_below(adapted: Adapted, variables: dict[str, Any], depth: int) -> dict[str, Any]:
    """The leaves that stages below the cut read.

    Args:
      adapted: from `below`.
      variables: all leaves.
      depth: index of the first stage above the cut.

    Returns:
      Those of them that activations at the cut depend on.
    """
    read = _traced(adapted, adapted, depth).read
    return tree.unflatten({path: leaf for path, leaf in tree.flatten(variables).items() if path in read})


@dataclass(frozen=True)
class _Traced:
    """What is computed below a cut.

    Args:
      text: the operations whose results somebody reads.
      read: paths of the leaves that they read.
    """

    text: str
    read: frozenset[str]


@functools.cache
def _traced(adapted: Adapted, whole: Adapted, depth: int) -> _Traced:
    """The passes of a model below the cut, as a function of all leaves of another, without any arithmetic."""

    def run(variables: dict[str, Any], x_B: Any) -> Any:
        return adapted.apply(variables, x_B, last=depth)[0]

    variables = whole.abstract()
    jaxpr = jax.make_jaxpr(run)(variables, jax.eval_shape(whole.model.example)).jaxpr
    needed, kept = {var for var in jaxpr.outvars if not isinstance(var, Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or any(out in needed for out in equation.outvars):
            kept.append(equation)
            needed |= {var for var in equation.invars if not isinstance(var, Literal)}
    read = [path for path, var in zip(tree.flatten(variables), jaxpr.invars, strict=False) if var in needed]
    # Functions are printed with where they lie in memory.
    return _Traced(re.sub("0x[0-9a-f]+", "", str(jaxpr.replace(eqns=kept[::-1]))), frozenset(read))


def activations(
    adapted: Adapted,
    variables: Any,
    x_N: np.ndarray,
    depth: int,
    *,
    placement: Placement,
    programs: Programs,
    batch: int,
    ops: Pipeline = NO_OPS,
) -> tuple[Any, float]:
    """What enters stage `depth`, for every example.

    Args:
      adapted: the model and its method; everything below `depth` is frozen.
      variables: parameters, adapters and statistics.
      x_N: inputs of the model, [examples, ...]; images as bytes, or token ids.
      depth: index of the first stage that is not run.
      placement: the devices.
      programs: shared with every run.
      batch: examples per call.
      ops: what is done to every batch before.

    Returns:
      Activations [examples, ...], an array or nested dicts of arrays, and the FLOPs one example cost.
    """
    settings: dict[str, Any] = {"placement": placement, "programs": programs, "batch": batch, "ops": ops}
    return joined(each_batch(adapted, variables, x_N, depth, **settings))


def each_batch(
    adapted: Adapted,
    variables: Any,
    x_N: np.ndarray,
    depth: int,
    *,
    placement: Placement,
    programs: Programs,
    batch: int,
    ops: Pipeline = NO_OPS,
) -> Iterator[tuple[Any, float]]:
    """The same as `activations`, batch by batch, for what is too large to be held at once."""
    adapted = below(adapted, depth)
    leaves = leaves_below(adapted, variables, depth)
    placed = placement.evaluation.shared(leaves)
    rest = {path: leaf for path, leaf in tree.flatten(adapted.abstract()).items() if path not in tree.flatten(leaves)}

    def run(leaves: Any, x_B: Any) -> Any:
        # What nobody reads still has a shape that modules ask for.
        blanks = {path: jnp.zeros(leaf.shape, leaf.dtype) for path, leaf in rest.items()}
        return adapted.apply(tree.unflatten({**tree.flatten(leaves), **blanks}), ops.ready(x_B), last=depth)[0]

    def call(chunk: np.ndarray) -> tuple[Any, float]:
        args = (placed, placement.evaluation.batch(chunk))
        program = programs.get((adapted, ops, "below", depth), lambda *a: jax.jit(run).lower(*a).compile(), *args)
        return jax.tree.map(np.asarray, program.call(*args)), program.flops / batch

    yield from batches(call, x_N, batch)


def in_batches(call: Any, x_N: Any, batch: int) -> tuple[Any, float]:
    """A function of fixed batch size over any number of examples; the last batch is filled up with zeros.

    Args:
      call: [batch, ...] to outputs [batch, ...] and a cost per example.
      x_N: inputs, [examples, ...], an array or nested dicts of arrays.
      batch: examples per call.

    Returns:
      Outputs [examples, ...] and the cost per example.
    """
    return joined(batches(call, x_N, batch))


def joined(outputs: Iterator[tuple[Any, float]]) -> tuple[Any, float]:
    """Outputs of consecutive batches as one, and the cost per example of the last."""
    parts, costs = zip(*outputs, strict=True)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), costs[-1]


def batches(call: Any, x_N: Any, batch: int) -> Iterator[tuple[Any, float]]:
    """The same as `in_batches`, batch by batch, for what is too large to be held at once."""
    size = len(jax.tree.leaves(x_N)[0])
    for start in range(0, size, batch):
        here = min(batch, size - start)
        out, cost = call(jax.tree.map(lambda x, start=start: _filled(x[start : start + batch], batch), x_N))
        yield jax.tree.map(lambda leaf, here=here: leaf[:here], out), cost


def _filled(x_B: np.ndarray, batch: int) -> np.ndarray:
    fill = np.zeros((batch - len(x_B), *x_B.shape[1:]), x_B.dtype)
    return np.concatenate([x_B, fill]) if len(fill) else x_B
