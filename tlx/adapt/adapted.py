"""A model seen through a method: its variables, labels and forward pass."""

import functools
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError, RuleError, suggest
from tlx.models.registry import Model
from tlx.partition import label_tree, leading_frozen


@dataclass(frozen=True)
class Adapted:
    """A model and the method it is adapted by; hashable, so it names a program.

    Args:
      model: the architecture.
      method: key of `METHODS`.
      settings: a value for each of the method's fields.
    """

    model: Model
    method: str
    settings: tuple[tuple[str, Any], ...] = ()

    def init_adapters(self, variables: dict[str, Any], seed: jax.Array | int) -> dict[str, Any]:
        """The variables with the method's fresh adapters added.

        Args:
          variables: the model's own, from `Model.init` or a checkpoint.
          seed: integer, may be traced.

        Returns:
          The same tree, and `"adapters"` where the method adds any.

        Raises:
          ConfigError: the method's target matches no layer.
        """
        if METHODS[self.method].interceptor is None:
            return variables
        image_1HWC = jnp.zeros((1, *self.model.image_HWC), jnp.float32)
        # Apart from `Model.init`, which draws the kernel beside an adapter from the same seed and path.
        key = jax.random.fold_in(jax.random.key(seed), 1)
        with self._intercepted(1.0):
            _, added = self.model.module.apply(variables, image_1HWC, mutable=["adapters"], rngs={"adapters": key})
        if not added.get("adapters"):
            target = dict(self.settings)["target"]
            raise ConfigError("target", f"{target!r} matches no dense layer of {self.model.name!r}")
        return {**variables, **added}

    def abstract(self) -> dict[str, Any]:
        """Shapes and dtypes of all variables, computed without any arithmetic."""
        return _abstract(self)

    def labels(self) -> dict[str, str]:
        """The label of every parameter and adapter; statistics have none.

        Raises:
          ConfigError: a setting that does not fit the model, with the field's own name.
        """
        try:
            return _labels(self)
        except RuleError as error:
            raise self._blame(error) from None

    def cut(self) -> int:
        """How many stages from the input up stay as they are, so that their output can be cached."""
        return leading_frozen(self.labels(), self.model.stages)

    def apply(
        self,
        variables: dict[str, Any],
        x: jax.Array,
        *,
        first: int = 0,
        last: int | None = None,
        train: bool = False,
        scale: jax.Array | float = 1.0,
        mutable: tuple[str, ...] = (),
    ) -> tuple[jax.Array, dict[str, Any]]:
        """The forward pass through stages `first` to `last`.

        Args:
          variables: parameters, adapters and statistics.
          x: images [B, H, W, C] in [-1, 1], or the output of stage `first - 1`.
          first: index of the first stage.
          last: index after the last stage, or None for all.
          train: whether this is a training step.
          scale: factor on the adapters' effect; may be traced.
          mutable: collections the pass may change.

        Returns:
          The last stage's output, and the changed collections.
        """
        with self._intercepted(scale):
            out, changed = self.model.module.apply(variables, x, first, last, train=train, mutable=list(mutable))
        return out, dict(changed)

    def _blame(self, error: RuleError) -> ConfigError:
        """The error as one of the setting that holds the pattern it quotes."""
        patterns = {name: value for name, value in self.settings if isinstance(value, str)}
        for name, value in self.settings:
            if isinstance(value, tuple):
                patterns |= {f"{name}[{i}]": item for i, item in enumerate(value)}
        field = next((field for field, pattern in patterns.items() if repr(pattern) in str(error)), "")
        if not field:
            # A rule of the method's own, which the settings leave nothing to decide.
            return ConfigError(next((name.partition("[")[0] for name in patterns), "name"), str(error))
        unmatched = "matches no parameter" in str(error)
        stages = [f"params/{stage}/.*" for stage in self.model.stages]
        return ConfigError(field, f"{error}{suggest(patterns[field], stages) if unmatched else ''}")

    def _intercepted(self, scale: jax.Array | float) -> Any:
        make = METHODS[self.method].interceptor
        if make is None:
            return nn.intercept_methods(lambda layer, args, kwargs, context: layer(*args, **kwargs))
        return nn.intercept_methods(make(dict(self.settings), scale))


@functools.cache
def _abstract(adapted: Adapted) -> dict[str, Any]:
    shapes: dict[str, Any] = jax.eval_shape(lambda: adapted.init_adapters(adapted.model.init(0), 0))
    return shapes


@functools.cache
def _labels(adapted: Adapted) -> dict[str, str]:
    rules = METHODS[adapted.method].rules(dict(adapted.settings))
    return label_tree(rules, {k: v for k, v in adapted.abstract().items() if k != "batch_stats"})
