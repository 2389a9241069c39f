"""One program over all sources, in float64 on the host's processor.

Estimators differ by less than float32 rounds, and accelerators are slow or unable at float64: so every
estimate is computed where all machines agree, inside a context that leaves the rest of the program as it was.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tlx.measure.transferability.inputs import Numbers


def over_sources(one: Callable[..., Any], given: Numbers, *shared: Numbers, **static: Any) -> Any:
    """Apply a function of one source to one or to several.

    Args:
      one: `(x, *shared, **static)` to an array or a tuple of arrays; written in JAX, at module level.
      given: of one source [N, ...], or of several [S, N, ...], over which the function is mapped at once.
      shared: the same for all sources.
      static: hashable settings that shapes or loops depend on.

    Returns:
      float64 arrays as `one` gives them, with a leading S where there are several sources.
    """
    program = _program(one, given.ndim == 3, len(shared), tuple(sorted(static.items())))
    with jax.enable_x64(True), jax.default_device(_processor()):
        return jax.tree.map(lambda x: np.asarray(x, np.float64), program(given, *shared))


@functools.cache
def _program(one: Callable[..., Any], several: bool, shared: int, static: tuple[tuple[str, Any], ...]) -> Any:
    bound = functools.partial(one, **dict(static))
    return jax.jit(jax.vmap(bound, in_axes=(0, *[None] * shared)) if several else bound)


@functools.cache
def _processor() -> Any:
    """The host's processor, or None, JAX's own choice, where JAX was told to know of none."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
