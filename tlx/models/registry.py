"""Models by name: the one way from a config's text to a module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.fields import Fields
from tlx.models import bert, bit, clip_text, clip_vision, decoder, efficientnet, resnet, vit
from tlx.models.inputs import IMAGE, TOKENS

Settings = dict[str, Any]

# What a model is trained to do: to tell classes apart, to guess hidden tokens, or to guess the next one.
CLASSIFY, MASKED_LM, CAUSAL_LM = OBJECTIVES = ("classify", "masked_lm", "causal_lm")


@dataclass(frozen=True)
class Kind:
    """A registered architecture.

    Args:
      module: called with `num_classes` and the settings, gives a linen module with `stages()` and
        `__call__(x, first, last, train)`.
      fields: its settings.
      check: `(settings, input_shape)`; refuses settings that do not fit one another or the inputs.
      targets: settings to the roles that its modules play: a role's name to a regular expression over whole
        module paths such as `block_0/attention/query`. A role that no module plays is absent.
      takes: `image` for float32 [B, H, W, C], `tokens` for int32 ids [B, T].
      class_tokens: settings to how many tokens of its own lead the others.
      shared: settings to patterns over paths of leaves that a later stage reads besides their own, such as a table of
        words that is also the last layer; they are needed above every cut.
      folds: whether what a method adds to a layer's output can be folded into the layer's leaves; not where kernels
        are standardised, which undoes it.
      objectives: what it can be trained to do besides telling classes apart, and the settings it then has.
    """

    module: Callable[..., nn.Module]
    fields: Fields
    check: Callable[[Settings, tuple[int, ...]], None]
    targets: Callable[[Settings], Mapping[str, str]]
    takes: str = IMAGE
    class_tokens: Callable[[Settings], int] = lambda settings: 0
    shared: Callable[[Settings], tuple[str, ...]] = lambda settings: ()
    folds: bool = True
    objectives: Mapping[str, Settings] = field(default_factory=dict)

    def for_classes(self, settings: Settings) -> Settings:
        """The settings, with a head for classes where theirs is for tokens."""
        of_tokens = {changed["head"] for changed in self.objectives.values()}
        return {**settings, "head": "classify"} if settings.get("head") in of_tokens else settings


MODELS: dict[str, Kind] = {
    "vit": Kind(vit.ViT, vit.FIELDS, vit.check, vit.targets, class_tokens=vit.class_tokens),
    "bert": Kind(
        bert.module,
        bert.FIELDS,
        bert.check,
        bert.targets,
        takes=TOKENS,
        class_tokens=lambda settings: 1,
        shared=bert.shared,
        objectives={MASKED_LM: {"head": "mlm", "normalise": False}},
    ),
    "decoder": Kind(
        decoder.module,
        decoder.FIELDS,
        decoder.check,
        decoder.targets,
        takes=TOKENS,
        shared=decoder.shared,
        objectives={CAUSAL_LM: {"head": "lm"}},
    ),
    "clip_vision": Kind(
        clip_vision.ClipVision,
        clip_vision.FIELDS,
        clip_vision.check,
        vit.targets,
        class_tokens=lambda settings: 1,
    ),
    "clip_text": Kind(clip_text.ClipText, clip_text.FIELDS, clip_text.check, clip_text.targets, takes=TOKENS),
    "resnet": Kind(resnet.ResNet, resnet.FIELDS, resnet.check, resnet.targets),
    "bit": Kind(bit.BiT, bit.FIELDS, bit.check, bit.targets, folds=False),
    "efficientnet": Kind(efficientnet.EfficientNet, efficientnet.FIELDS, efficientnet.check, efficientnet.targets),
}


@dataclass(frozen=True)
class Model:
    """An architecture with its settings and the shapes it is used at.

    Args:
      name: key of `MODELS`.
      settings: a value for each of its fields.
      num_classes: outputs of the head.
      input_shape: shape of one input: [rows, columns, channels] of an image or [length] of token ids.
    """

    name: str
    settings: tuple[tuple[str, Any], ...]
    num_classes: int
    input_shape: tuple[int, ...]

    @property
    def kind(self) -> Kind:
        """The registered architecture."""
        return MODELS[self.name]

    @property
    def module(self) -> nn.Module:
        """The linen module."""
        return self.kind.module(num_classes=self.num_classes, **dict(self.settings))

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, input first."""
        return self.module.stages()

    @property
    def targets(self) -> Mapping[str, str]:
        """Patterns over module paths, by role."""
        return self.kind.targets(dict(self.settings))

    @property
    def class_tokens(self) -> int:
        """How many tokens of its own lead the others."""
        return self.kind.class_tokens(dict(self.settings))

    def example(self, size: int = 1) -> jax.Array:
        """Inputs of zeros, in the shape and dtype that the model takes.

        Args:
          size: number of examples.

        Returns:
          [size, ...].
        """
        return jnp.zeros((size, *self.input_shape), jnp.int32 if self.kind.takes == TOKENS else jnp.float32)

    def init(self, seed: jax.Array | int) -> dict[str, Any]:
        """Fresh variables; each leaf depends on the seed and its own path only.

        Args:
          seed: integer, may be traced.

        Returns:
          `{"params": ...}`, and `"batch_stats"` where the model keeps any.
        """
        return dict(self.module.init(jax.random.key(seed), self.example()))
