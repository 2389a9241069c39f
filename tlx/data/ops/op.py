"""What an op is: typed settings, and a pure function of examples and their random keys."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.fields import Field, Fields, check_fields
from tlx.losses import of_shares
from tlx.models.inputs import IMAGE, TOKENS, in_words

# Shape suffixes: B examples, H rows, W columns, C channels (or classes), T tokens.

Batch = Mapping[str, Any]


def setting(default: Any, doc: str, **rule: Any) -> Any:
    """One setting of an op, as the value of a dataclass field.

    Args:
      default: the value when nothing is said; its type is the setting's type.
      doc: what it means, with its unit.
      rule: what else a `Field` may be told, such as `low` and `high`.
    """
    return dataclasses.field(default=default, metadata={"rule": Field(default, doc, **rule)})


@dataclass(frozen=True)
class Op:
    """One step of preprocessing.

    Example i of the result depends on the key of example i alone, so that it does not matter how a batch is divided
    among devices. What an op that mixes takes of other examples, it takes from the batch as it was given.

    Raises:
      ConfigError: a setting has a wrong type, is out of range, or does not fit the others.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    paper: ClassVar[str] = ""
    takes: ClassVar[str] = IMAGE
    # Whether it uses its keys; whether it needs labels as shares of classes; whether it makes the labels of tokens.
    random: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Checks the settings, and makes a float of an integer where a float is meant."""
        for name, value in check_fields(self.name, self.fields(), self.settings()).items():
            object.__setattr__(self, name, value)
        try:
            self.check()
        except ConfigError as error:
            raise error.within(self.name) from None

    @classmethod
    def fields(cls) -> Fields:
        """The rule of each setting."""
        return {field.name: field.metadata["rule"] for field in dataclasses.fields(cls)}

    def settings(self) -> dict[str, Any]:
        """The value of each setting."""
        return {name: getattr(self, name) for name in self.fields()}

    def check(self) -> None:
        """Refuses settings that do not fit one another, by a `ConfigError` with the field's own name."""

    def __call__(self, batch: Batch, key_B: jax.Array) -> dict[str, Any]:
        """The batch after the op.

        Args:
          batch: `input`: uint8 pixels or float32 in [-1, 1], [B, H, W, C], or int32 token ids [B, T]; `label`; and
            whatever else, which is kept.
          key_B: a random key for each example.

        Returns:
          The new batch.

        Raises:
          ConfigError: the op cannot be done to such inputs.
          TypeError: the inputs, or the labels that are to be mixed, are of another type.
        """
        x = batch["input"]
        if x.ndim != {IMAGE: 4, TOKENS: 2}[self.takes]:
            wanted = {IMAGE: "images", TOKENS: "token ids"}[self.takes]
            raise ConfigError(self.name, f"takes {wanted}, but the inputs are {in_words(x.shape[1:])}")
        if x.dtype not in {IMAGE: (jnp.uint8, jnp.float32), TOKENS: (jnp.int32,)}[self.takes]:
            raise TypeError(f"{self.name} does not take {x.dtype}")
        if self.mixes and not of_shares(label := batch["label"]):
            raise TypeError(f"{self.name} takes labels as shares of classes, got {label.dtype}{list(label.shape)}")
        try:
            return self.apply(dict(batch), key_B)
        except ConfigError as error:
            raise error.within(self.name) from None

    def apply(self, batch: dict[str, Any], key_B: jax.Array) -> dict[str, Any]:
        """As `__call__`, of inputs of the right kind."""
        return batch | {"input": self.image(batch["input"], key_B)}

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images after an op that changes nothing else."""
        raise NotImplementedError


def check_span(name: str, span: tuple[Any, ...], low: float, high: float) -> None:
    """Whether a setting is two numbers, the smaller first.

    Args:
      name: of the setting.
      span: its value.
      low: what neither may be below.
      high: what neither may be above.

    Raises:
      ConfigError: of the field `name`.
    """
    number = Field(low, "one end", low=low, high=high)
    ends = [number.check(f"{name}[{i}]", end) for i, end in enumerate(span)]
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ConfigError(name, f"expected two numbers, the smaller first, got {span!r}")
