"""Where arrays live and how a program is compiled for one or many devices."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ("data", "fsdp")


@dataclass(frozen=True)
class Program:
    """A compiled program and what the compiler says of it.

    Args:
      call: takes and gives placed arrays.
      flops: floating-point operations of one step on all devices; a scanned step counts once.
      compile_s: seconds spent compiling.
    """

    call: Callable[..., Any]
    flops: float
    compile_s: float


class Placement(Protocol):
    """How one run is spread over devices; `jit` and `pmap` give the same numbers."""

    devices: int

    @property
    def evaluation(self) -> "Jit":
        """Where predictions are made: the same devices, always under `jit`."""

    def state(self, state: Any, members: bool = False) -> Any:
        """A copy of the state on the devices; with `members`, its leading axis is spread over them."""

    def shared(self, tree: Any) -> Any:
        """A tree every step reads: frozen leaves, resident data."""

    def items(self, items: Any, members: bool = False) -> Any:
        """Per-step inputs [steps, batch, ...] with the batch spread, or [members, ...] with members spread."""

    def fetch(self, state: Any) -> Any:
        """The state as one ordinary tree again."""

    def compile(self, advance: Callable[..., Any], *args: Any) -> Callable[..., Any]:
        """The function compiled for placed arguments; its first argument is given up."""


class Jit:
    """One program over a mesh of `data × fsdp` devices; the compiler inserts the communication."""

    def __init__(self, data: int = 1, fsdp: int = 1) -> None:
        self.devices = data * fsdp
        types = (AxisType.Auto,) * len(AXES)
        self.mesh = jax.make_mesh((data, fsdp), AXES, axis_types=types, devices=jax.devices()[: self.devices])
        self.fsdp = fsdp

    @property
    def evaluation(self) -> "Jit":
        """This very placement."""
        return self

    def batch(self, x: Any) -> Any:
        """Examples [batch, ...] split over all devices, or on each of them where they cannot be split evenly."""
        return jax.tree.map(lambda leaf: jax.device_put(leaf, self._members(leaf)), x)

    def _named(self, *spec: Any) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def _leaf(self, leaf: Any) -> NamedSharding:
        """Largest dimension that `fsdp` divides is split over it; everything else is copied."""
        sizes = [(size, axis) for axis, size in enumerate(leaf.shape) if size % self.fsdp == 0 and size > 1]
        if self.fsdp == 1 or not sizes:
            return self._named()
        _, axis = max(sizes)
        return self._named(*(None,) * axis, "fsdp")

    def _members(self, leaf: Any) -> NamedSharding:
        return self._named(AXES) if leaf.shape[0] % self.devices == 0 else self._named()

    def state(self, state: Any, members: bool = False) -> Any:
        """A copy of the state on the mesh."""
        rule = self._members if members else self._leaf
        # A true copy: over several devices `device_put` keeps the first one's buffer, which donation would free.
        return jax.tree.map(lambda leaf: jax.device_put(jnp.array(leaf, copy=True), rule(leaf)), state)

    def shared(self, tree: Any) -> Any:
        """Parameters split over `fsdp`; see `Placement`."""
        return jax.tree.map(lambda leaf: jax.device_put(leaf, self._leaf(leaf)), tree)

    def items(self, items: Any, members: bool = False) -> Any:
        """The batch (or the members) split over all devices."""
        if members:
            return jax.tree.map(lambda leaf: jax.device_put(leaf, self._members(leaf)), items)
        return jax.tree.map(lambda leaf: jax.device_put(leaf, self._named(None, AXES)), items)

    def fetch(self, state: Any) -> Any:
        """The same arrays; they already read as whole ones."""
        return state

    def compile(self, advance: Callable[..., Any], *args: Any) -> Any:
        """Compiled ahead of time; outputs keep the state's placement."""
        state = jax.tree.map(lambda leaf: leaf.sharding, args[0])
        jitted = jax.jit(advance, donate_argnums=0, out_shardings=(state, self._named()))
        return jitted.lower(*args).compile()


class Pmap:
    """The same step on every device over its slice of the batch, gradients averaged by hand."""

    def __init__(self, data: int) -> None:
        self.devices = data
        self.evaluation = Jit(data)
        self._list = jax.devices()[:data]
        mesh = jax.make_mesh((data,), ("data",), axis_types=(AxisType.Auto,), devices=self._list)
        self._split = NamedSharding(mesh, PartitionSpec("data"))

    def _copies(self, leaf: Any) -> jax.Array:
        stacked = np.broadcast_to(np.asarray(leaf), (self.devices, *np.shape(leaf)))
        return jax.device_put(stacked, self._split)

    def state(self, state: Any, members: bool = False) -> Any:
        """One copy a device; a fused group is not spread by `pmap`."""
        if members:
            raise ValueError("a fused group runs under jit, not pmap")
        return jax.tree.map(self._copies, state)

    def shared(self, tree: Any) -> Any:
        """One copy a device."""
        return jax.tree.map(self._copies, tree)

    def items(self, items: Any, members: bool = False) -> Any:
        """[steps, batch, ...] to [devices, steps, batch / devices, ...]."""

        def split(leaf: Any) -> jax.Array:
            leaf = np.asarray(leaf)
            steps, batch = leaf.shape[:2]
            leaf = leaf.reshape(steps, self.devices, batch // self.devices, *leaf.shape[2:])
            return jax.device_put(np.moveaxis(leaf, 1, 0), self._split)

        return jax.tree.map(split, items)

    def fetch(self, state: Any) -> Any:
        """The first device's copy; all are equal."""
        return jax.tree.map(lambda leaf: leaf[0], state)

    def compile(self, advance: Callable[..., Any], *args: Any) -> Any:
        """Compiled ahead of time over the `data` axis."""
        mapped = jax.pmap(
            functools.partial(advance, axis="data"),
            axis_name="data",
            devices=self._list,
            donate_argnums=0,
        )
        return mapped.lower(*args).compile()


def make_placement(kind: str, data: int, fsdp: int) -> Placement:
    """The placement a config asks for.

    Args:
      kind: `jit` or `pmap`.
      data: devices the batch is split over; -1 for all that `fsdp` leaves.
      fsdp: devices each parameter is split over; 1 under `pmap`.

    Returns:
      A placement over `data * fsdp` devices.
    """
    data = max(1, jax.device_count() // fsdp) if data == -1 else data
    return Pmap(data) if kind == "pmap" else Jit(data, fsdp)


def flops_of(compiled: Any) -> float:
    """Floating-point operations of a compiled program, as its compiler counts them; NaN where it does not."""
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    value = float((analysis or {}).get("flops", math.nan))
    return value
