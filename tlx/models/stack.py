"""Blocks in a row: each a stage of its own, or all of them one scanned stage with stacked leaves."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from tlx.fields import Field

Stage = Callable[[Any], Any]

FIELDS = {
    "remat": Field(False, "whether the backward pass computes each block's activations anew, to save memory"),
    "scan": Field(False, "whether the blocks are one scanned stage with stacked leaves, which compiles faster"),
}


def names(depth: int, scan: bool) -> tuple[str, ...]:
    """The blocks' stages.

    >>> names(2, scan=False), names(2, scan=True)
    (('block_0', 'block_1'), ('blocks',))
    """
    return ("blocks",) if scan else tuple(f"block_{i}" for i in range(depth))


def unrolled(blocks: Sequence[nn.Module], train: bool, remat: bool, **of_last: Any) -> list[Stage]:
    """One stage a block.

    Args:
      blocks: bound modules; each takes what flows and `train`, and returns what flows on.
      train: whether this is a training step.
      remat: whether to keep a block's input only and compute the rest anew in the backward pass.
      of_last: what the last block is told besides.

    Returns:
      A function of what flows for each block.
    """

    def run(block: nn.Module, **told: Any) -> Stage:
        step = _step(train, **told)
        return partial(nn.remat(step) if remat else step, block)

    return [*map(run, blocks[:-1]), run(blocks[-1], **of_last)]


def queries(pool: int, first: int, last: int | None, *, reads_first: bool) -> int | None:
    """How many tokens of the last block are computed: the first alone where the same pass goes on to read no other.

    Args:
      pool: index of the stage behind the last block.
      first: index of the pass's first stage.
      last: index after its last one, or None for all.
      reads_first: whether that stage reads the first token only.

    Returns:
      1, or None for all of them: whoever asks for what flows out of the last block gets all of it.

    >>> queries(4, 0, None, reads_first=True), queries(4, 0, 4, reads_first=True)
    (1, None)
    """
    return 1 if reads_first and pool in range(pool + 2)[first:last] else None


def scanned(block: nn.Module, depth: int, train: bool, remat: bool) -> Stage:
    """All blocks as one stage.

    Args:
      block: bound module that stands for all of them; each of its leaves has a leading axis of `depth`, in every
        collection, so that what an interceptor adds beside a layer is stacked as well.
      depth: number of blocks.
      train: whether this is a training step.
      remat: as for `unrolled`.

    Returns:
      A function of what flows.
    """
    step = _step(train)
    # Inside a scan nothing can be shared between the two passes, so there is nothing to prevent.
    run = nn.remat(step, prevent_cse=False) if remat else step

    def body(block: nn.Module, x: Any, _: None) -> tuple[Any, None]:
        return run(block, x), None

    repeat = nn.scan(body, variable_axes={True: 0}, split_rngs={True: True}, length=depth)
    return lambda x: repeat(block, x, None)[0]


def stacked(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a model with `scan`, from those of the same model without.

    >>> stacked({"params": {"embed": {"w": 1}, "block_0": {"w": np.ones(2)}, "block_1": {"w": np.zeros(2)}}})
    {'params': {'embed': {'w': 1}, 'blocks': {'w': array([[1., 1.],
           [0., 0.]])}}}
    """
    joined = {}
    for collection, stages in variables.items():
        numbers = sorted(int(name.removeprefix("block_")) for name in stages if name.startswith("block_"))
        blocks = [stages[f"block_{i}"] for i in numbers]
        joined[collection] = {name: leaves for name, leaves in stages.items() if not name.startswith("block_")}
        if blocks:
            joined[collection]["blocks"] = jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)
    return joined


def apart(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a model without `scan`, from those of the same model with it; the inverse of `stacked`."""
    split = {}
    for collection, stages in variables.items():
        split[collection] = {name: leaves for name, leaves in stages.items() if name != "blocks"}
        stack = stages.get("blocks", {})
        for i in range(len(jax.tree.leaves(stack)[0]) if stack else 0):
            split[collection][f"block_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
    return split


def _step(train: bool, **told: Any) -> Callable[[Any, Any], Any]:
    def step(block: Any, x: Any) -> Any:
        return block(x, train=train, **told)

    return step
