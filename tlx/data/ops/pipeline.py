"""Several ops in turn, each with chance of its own."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tlx.atomic import digest_json
from tlx.data.ops.normalise import Normalise
from tlx.data.ops.op import Batch, Op
from tlx.data.ops.partners import shares_of_classes
from tlx.data.ops.registry import OPS
from tlx.data.preprocess import normalised
from tlx.errors import ConfigError, suggest
from tlx.fields import check_fields
from tlx.seeds import derive

# Shape suffixes: B examples.


@dataclass(frozen=True)
class Pipeline:
    """Ops in the order in which they are done.

    Args:
      ops: may be empty.
      num_classes: how many classes the labels have, for ops that mix them; 0 if they are no classes.

    Raises:
      ConfigError: the ops cannot stand in this order, or cannot be done to such labels.
    """

    ops: tuple[Op, ...] = ()
    num_classes: int = 0

    def __post_init__(self) -> None:
        """Checks the order."""
        names = [op.name for op in self.ops]
        makers = [name for name, op in zip(names, self.ops, strict=True) if op.labels]
        if len(makers) > 1:
            raise ConfigError(makers[1], f"the labels are made by {makers[0]!r} already; leave one of them out")
        for i, op in enumerate(self.ops):
            if op.mixes and self.num_classes < 2:
                raise ConfigError(op.name, "mixes classes, but the labels are none")
            if isinstance(op, Normalise) and op.changes_range and (later := names[i + 1 :]):
                raise ConfigError(op.name, f"must come after {later[-1]!r}, which expects pixels as they are")

    def __call__(
        self, batch: Batch, seed: jax.Array | int, step: jax.Array | int, first: jax.Array | int = 0
    ) -> dict[str, Any]:
        """A batch after all ops; a pure function that may stand in a compiled program.

        The key of an op comes from the seed, its name, how many ops of the same name stand before it, the step and the
        position of the example, and from nothing else: another op more or less does not change what this one draws.

        Args:
          batch: `input` and `label` of the step's examples, and whatever else.
          seed: of this use of chance; may be traced.
          step: may be traced.
          first: position in the step's batch of the first example, where this is a part of it; may be traced.

        Returns:
          The new batch; labels are float32 [B, classes] if an op mixes, and [B, T] if one makes labels of tokens.

        Raises:
          ConfigError: an op cannot be done to such inputs.
        """
        batch = dict(batch)
        position_B = first + jnp.arange(batch["input"].shape[0])
        for op, purpose in zip(self.ops, self._purposes(), strict=True):
            if op.mixes:
                batch["label"] = shares_of_classes(batch["label"], self.num_classes)
            of_op = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), step)
            batch = op(batch, jax.vmap(jax.random.fold_in, in_axes=(None, 0))(of_op, position_B))
        return batch

    @property
    def evaluation(self) -> "Pipeline":
        """The ops that are done to every batch: those that draw, mix or make labels are for training alone."""
        return Pipeline(tuple(op for op in self.ops if not (op.random or op.mixes or op.labels)))

    def ready(self, x: Any) -> Any:
        """Inputs as a model takes them when nothing is trained.

        Args:
          x: images, token ids, or cached activations where there are no ops.
        """
        ops = self.evaluation
        return normalised(ops({"input": x}, 0, 0)["input"] if ops.ops else x)

    @property
    def random(self) -> bool:
        """Whether any op draws."""
        return any(op.random for op in self.ops)

    @property
    def mixes(self) -> bool:
        """Whether labels become shares of classes."""
        return any(op.mixes for op in self.ops)

    @property
    def normalises(self) -> bool:
        """Whether pixels get other statistics than those that models expect, so that a model must not do it again."""
        return any(isinstance(op, Normalise) and op.changes_range for op in self.ops)

    def output(self, batch: Any) -> Any:
        """The shapes and types after all ops, without doing them.

        Args:
          batch: arrays or `jax.ShapeDtypeStruct`s.

        Returns:
          `jax.ShapeDtypeStruct`s.

        Raises:
          ConfigError: an op cannot be done to such inputs; its field starts with the op's name.
        """
        return jax.eval_shape(lambda batch: self(batch, 0, 0), batch)

    def input_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one input after all ops: what the model is built for.

        Args:
          shape: before them, [rows, columns, channels] of an image or [length] of token ids.

        Raises:
          ConfigError: an op cannot be done to such inputs; its field starts with the op's name.
        """
        dtype = jnp.uint8 if len(shape) == 3 else jnp.int32
        batch = {
            "input": jax.ShapeDtypeStruct((2, *shape), dtype),
            "label": jax.ShapeDtypeStruct((2,), jnp.int32),
        }
        return tuple(self.output(batch)["input"].shape[1:])

    def canonical(self) -> list[list[Any]]:
        """The ops with all their settings, as JSON holds them, for content ids."""
        return [[op.name, {name: _plain(value) for name, value in op.settings().items()}] for op in self.ops]

    @property
    def digest(self) -> str:
        """SHA-256 of `canonical`, in hex."""
        return digest_json(self.canonical())

    def _purposes(self) -> Iterable[int]:
        seen: Counter[str] = Counter()
        for op in self.ops:
            yield derive(seen[op.name], f"op {op.name}")
            seen[op.name] += 1


NO_OPS = Pipeline()


def make_pipeline(
    named: Sequence[tuple[str, Mapping[str, Any]]], num_classes: int = 0, where: str = "config.preprocess"
) -> Pipeline:
    """A pipeline as a config says it.

    Args:
      named: name and settings of each op, in order.
      num_classes: how many classes the labels have; 0 if they are no classes.
      where: the config's path of this block, for messages.

    Returns:
      The pipeline.

    Raises:
      ConfigError: an unknown op or setting, a wrong value, or ops that do not go together.
    """
    try:
        return Pipeline(tuple(make_op(name, given) for name, given in named), num_classes)
    except ConfigError as error:
        raise error.within(where) from None


def make_op(name: str, given: Mapping[str, Any]) -> Op:
    """An op as a config says it.

    Args:
      name: key of `OPS`.
      given: settings that are not to be the defaults.

    Returns:
      The op.

    Raises:
      ConfigError: an unknown op or setting, or a wrong value; its field starts with the op's name.
    """
    if name not in OPS:
        raise ConfigError(name, f"no such op{suggest(name, OPS)}")
    return OPS[name](**check_fields(name, OPS[name].fields(), given))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
