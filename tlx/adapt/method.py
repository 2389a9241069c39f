"""What a method is: fields and label rules, and whichever hooks it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax

from tlx.adapt.anatomy import Anatomy, Base
from tlx.adapt.hooks import Around, Calibration, Candidates, Fixed, Moment, Pass, Phase
from tlx.fields import Fields
from tlx.linear.solution import Solution
from tlx.partition import Rules

Settings = Mapping[str, Any]
Interceptor = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], nn.module.InterceptorContext], Any]
Wrapper = Callable[[optax.GradientTransformation], optax.GradientTransformation]


@dataclass(frozen=True)
class Defaults:
    """What a config that is silent gets; good learning rates differ by 10⁶ between methods.

    Args:
      learning_rates: three to try, as every arm gets the same number.
      weight_decay: decoupled.
      schedule: `cosine`, `linear`, `slanted` or `constant`.
      optimizer: `adamw` or `sgd`.
      warmup: share of the steps.
    """

    learning_rates: tuple[float, float, float]
    weight_decay: float = 0.0
    schedule: str = "cosine"
    optimizer: str = "adamw"
    warmup: float = 0.1


@dataclass(frozen=True)
class Method:
    """A way of adapting, as data.

    Args:
      name: what `method.name` says.
      paper: author, year.
      trains: what moves, in a few words.
      fields: its settings.
      defaults: learning rates, weight decay and schedule of its paper.
      rules: `(settings, anatomy)` to `(pattern, label)` pairs over the paths of parameters and of its own
        adapters, first match wins. A label is a kind (`frozen`, `train`, `head`, `adapter`), and `@name`
        after it for leaves with a learning rate of their own.
      lr_scale: `(settings, anatomy)` to factors on the learning rate, by label; 1 where it is silent.
      interceptor: `(settings, pass)` to an interceptor that adds adapters around existing modules.
      grow: `(settings, base, key)` to leaves that no interceptor creates, `{"adapters": ..., "reference": ...}`;
        what lies under `reference` never moves and is no part of the model.
      rewrite: `(settings, variables, scale)` to the variables the forward pass sees.
      around: `(settings, pass)` to a wrapper of every stage; what flows between stages is then its own affair.
      penalty: `(settings, moment)` to a scalar added to the training loss.
      phases: `(settings, anatomy)` to phases: which of the moving leaves move when.
      wrap: `(settings, steps)` to a wrapper of the whole optimizer.
      calibrate: `(settings, calibration)` to leaves that replace grown ones, made from examples.
      examples: whose examples `calibrate` wants: `target`, `source` or nobody's.
      combine: `(settings, candidates)` to the leaves that are evaluated, from those of all trials.
      solve: `(settings, fixed)` to heads that are the best there are on features that never change, one for each of a
        cell's trials; there are then no steps, and what the config calls learning rates are L2 penalties.
      merge: `(settings, leaves, sides)` to the leaves of a plain model that computes the same; both by path,
        without the collection's name, in float32.
      keeps_head: whether it keeps the source's own head, whatever the classes of the target.
      modifies: whether, under another method's `also`, it only changes how that method's leaves move and opens none
        of its own accord.
      alone: why no other method can stand beside it in `also`; empty where others can.
      starts_elsewhere: why training does not start at the base model's output; empty where it does.
    """

    name: str
    paper: str
    trains: str
    fields: Fields
    defaults: Defaults
    rules: Callable[[Settings, Anatomy], Rules]
    lr_scale: Callable[[Settings, Anatomy], Mapping[str, float]] | None = None
    interceptor: Callable[[Settings, Pass], Interceptor] | None = None
    grow: Callable[[Settings, Base, jax.Array], dict[str, Any]] | None = None
    rewrite: Callable[[Settings, dict[str, Any], jax.Array | float], dict[str, Any]] | None = None
    around: Callable[[Settings, Pass], Around] | None = None
    penalty: Callable[[Settings, Moment], jax.Array] | None = None
    phases: Callable[[Settings, Anatomy], tuple[Phase, ...]] | None = None
    wrap: Callable[[Settings, int], Wrapper] | None = None
    calibrate: Callable[[Settings, Calibration], dict[str, Any]] | None = None
    examples: str = ""
    combine: Callable[[Settings, Candidates], dict[str, Any]] | None = None
    solve: Callable[[Settings, Fixed], Solution] | None = None
    merge: Callable[[Settings, dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None
    keeps_head: bool = False
    modifies: bool = False
    alone: str = ""
    starts_elsewhere: str = ""


HEAD = ("params/head/.*", "head")
HEAD_ONLY: Rules = (HEAD, ("params/.*", "frozen"))
ADAPTERS: Rules = (("adapters/.*", "adapter"), *HEAD_ONLY)
EVERYTHING: Rules = (HEAD, ("params/.*", "train"))
