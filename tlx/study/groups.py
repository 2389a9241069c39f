"""How many runs of a unit fit into memory together."""

import math
import os

import jax

from tlx.study.context import Context
from tlx.study.cost import size_of, step_bytes
from tlx.study.plan import Unit

# Of the memory there is; the rest is for data, predictions and what the allocator cannot use.
_SHARE = 0.7


def members_at_once(unit: Unit, context: Context) -> int:
    """How many of a unit's runs are stacked in one program.

    Args:
      unit: strategy `fused`.
      context: names the devices; its study may set the number.

    Returns:
      At least 1, at most all.
    """
    if wanted := context.study.execution.members:
        return min(wanted, unit.runs)
    return fitting(unit, context.study.recipe.batch_size, _SHARE * memory() * context.placement.devices)


def fitting(unit: Unit, batch_size: int, room: float) -> int:
    """How many of a unit's runs fit into some memory; they share the frozen leaves.

    Args:
      unit: what is run.
      batch_size: examples per step.
      room: bytes.

    Returns:
      At least 1, at most all; all where the compiler does not say what a step takes.
    """
    whole, shared = step_bytes(unit.task, batch_size), size_of(unit.task).frozen_bytes
    if math.isnan(whole):
        return unit.runs
    own = max(whole - shared, 1.0)
    return max(1, min(unit.runs, int((room - shared) / own)))


def memory() -> float:
    """Bytes that one device has, or the machine where the device does not say."""
    stats = jax.devices()[0].memory_stats() or {}
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / jax.device_count()
    return float(stats.get("bytes_limit", machine))
