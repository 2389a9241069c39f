"""Blocks in a row: each a stage of its own, or all of them one scanned stage with stacked leaves."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn

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


def unrolled(blocks: Sequence[nn.Module], train: bool, remat: bool) -> list[Stage]:
    """One stage a block.

    Args:
      blocks: bound modules; each takes what flows and `train`, and returns what flows on.
      train: whether this is a training step.
      remat: whether to keep a block's input only and compute the rest anew in the backward pass.

    Returns:
      A function of what flows for each block.
    """
    step = _step(train)
    run = nn.remat(step) if remat else step
    return [partial(run, block) for block in blocks]


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


def _step(train: bool) -> Callable[[Any, Any], Any]:
    def step(block: Any, x: Any) -> Any:
        return block(x, train=train)

    return step
