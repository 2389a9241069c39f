"""What a method may know of the tree it is for."""

import functools
from dataclasses import dataclass
from typing import Any

import jax

from tlx import tree
from tlx.errors import ConfigError, RuleError
from tlx.models.registry import Model


@dataclass(frozen=True)
class Anatomy:
    """A model's leaves and stages, by shape only.

    Args:
      model: the architecture.
    """

    model: Model

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; the last is the head."""
        return self.model.stages

    @property
    def leaves(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape and dtype of every parameter and statistic, by path."""
        return _leaves(self.model)

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Shapes and dtypes of what each stage hands on, for one example."""
        return _outputs(self.model)

    @property
    def has_head(self) -> bool:
        """Whether the head has leaves of its own; one that is the table of words has none."""
        return any(path.startswith("params/head/") for path in self.leaves)

    @property
    def has_linear_head(self) -> bool:
        """Whether the head is one dense layer on one vector for each example."""
        head = {path: leaf.shape for path, leaf in self.leaves.items() if path.startswith("params/head/")}
        shape = (self.outputs[-2].shape[-1], self.model.num_classes) if hasattr(self.outputs[-2], "shape") else ()
        flat = bool(shape) and self.outputs[-2].ndim == 2
        return flat and head == {"params/head/kernel": shape, "params/head/bias": shape[1:]}

    def idle_above(self, path: str, depth: int) -> bool:
        """Whether no stage from `depth` on reads a leaf."""
        shared = self.model.kind.shared(dict(self.model.settings))
        below = stage_of(path, self.stages[:depth]) is not None
        return below and not any(tree.matches(pattern, path) for pattern in shared)

    def check_pooled(self) -> None:
        """Whether the features that enter the head are one vector for each example.

        Raises:
          ConfigError: of the field `name`, as the method needs them to be.
        """
        if self.outputs[-2].ndim != 2:
            raise ConfigError("name", f"the method needs one prediction an example, {self.model.name!r} makes more")

    def role(self, name: str, given: str, field: str = "target") -> str:
        """The pattern for a role, as given or as the model declares it.

        Args:
          name: role, a key of the model kind's `targets`.
          given: the setting; empty for the model's own.
          field: the setting's name.

        Raises:
          ConfigError: the setting is no regular expression, or is empty and the model has no such part.
        """
        found = given or self.model.targets.get(name, "")
        if not found:
            raise ConfigError(
                field, f"{self.model.name!r} has no {name} of its own to adapt; name modules by a pattern"
            )
        try:
            tree.matches(found, "")
        except RuleError as error:
            raise ConfigError(field, str(error)) from None
        return found


@dataclass(frozen=True)
class Base:
    """The tree a method adapts.

    Args:
      anatomy: its shapes.
      variables: its leaves: `params`, and `batch_stats` where there are any.
      source: the leaves it was made from, with the source's own head; equal to `variables` where there is no source.
    """

    anatomy: Anatomy
    variables: dict[str, Any]
    source: dict[str, Any]


@functools.cache
def _leaves(model: Model) -> dict[str, jax.ShapeDtypeStruct]:
    return tree.flatten(jax.eval_shape(lambda: model.init(0)))


@functools.cache
def _outputs(model: Model) -> tuple[Any, ...]:
    def run() -> tuple[Any, ...]:
        x: Any = model.example()
        variables, out = model.init(0), []
        for k in range(len(model.stages)):
            x = model.module.apply(variables, x, k, k + 1)
            out.append(x)
        return tuple(out)

    shapes: tuple[Any, ...] = jax.eval_shape(run)
    return shapes


def classes_of(head: dict[str, Any], model: Model) -> int:
    """How many outputs a head has.

    Args:
      head: its leaves; none where it is another stage's table, which has as many outputs as the model's.
      model: the architecture.
    """
    last = head.get("bias", head.get("kernel"))
    return model.num_classes if last is None else int(last.shape[-1])


def stage_of(path: str, stages: tuple[str, ...]) -> str | None:
    """The stage a leaf lies under, or None: `params/block_0/mlp/up/kernel` lies under `block_0`."""
    parts = path.split("/")
    return parts[1] if len(parts) > 1 and parts[1] in stages else None
