"""A model seen through a method: its variables, labels and forward pass."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax

from tlx.adapt import labelling, passing
from tlx.adapt.anatomy import Anatomy, Base
from tlx.adapt.hooks import Pass, Phase
from tlx.adapt.method import Method
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.models.registry import Model
from tlx.partition import leading_frozen, split_by

Settings = tuple[tuple[str, Any], ...]
Part = tuple[Method, dict[str, Any]]

STATS = ("auto", "frozen_stats", "update_stats", "reset")
ALWAYS = (Phase(0.0, (".*",)),)
ANCHOR = "anchor"


@dataclass(frozen=True)
class Adapted:
    """A model and the method it is adapted by; hashable, so it names a program.

    Args:
      model: the architecture.
      method: key of `METHODS`.
      settings: a value for each of the method's fields.
      also: further methods on the same tree, with their settings. What any of them trains is trained, but for those
        that only modify others (`Method.modifies`).
      stats: running statistics of BatchNorm: `auto` updates those of norms that train, `frozen_stats` none,
        `update_stats` all, `reset` all, from mean 0 and variance 1 on.
      source_classes: outputs of the source's head, for a method that keeps it; 0 for as many as the model's own.
      precision: what the stages compute in, `float32` or `bfloat16`. Leaves, their gradients, running statistics and
        logits are float32 either way.
    """

    model: Model
    method: str
    settings: Settings = ()
    also: tuple[tuple[str, Settings], ...] = ()
    stats: str = "auto"
    source_classes: int = 0
    precision: str = "float32"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every method with its settings, the main one first."""
        named = ((self.method, self.settings), *self.also)
        return tuple((METHODS[name], dict(settings)) for name, settings in named)

    @property
    def anatomy(self) -> Anatomy:
        """The model's leaves and stages, by shape."""
        return Anatomy(self.model)

    def init_adapters(
        self, variables: dict[str, Any], seed: jax.Array | int, source: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The variables with the methods' fresh leaves added.

        Args:
          variables: the model's own, from `Model.init` or a checkpoint.
          seed: integer, may be traced.
          source: the leaves they were made from, with the source's own head; None for `variables`.

        Returns:
          The same tree; `"adapters"` where a method adds any, `"reference"` where one keeps leaves to compare with.

        Raises:
          ConfigError: a target matches no layer, or a setting does not fit one.
        """
        # Apart from `Model.init`, which draws the kernel beside an adapter from the same seed and path.
        key = jax.random.fold_in(jax.random.key(seed), 1)
        source = variables if source is None else source
        if self.stats == "reset" and "batch_stats" in variables:
            variables = {**variables, "batch_stats": passing.fresh_stats(variables["batch_stats"])}
        base = Base(self.anatomy, variables, source)
        grown: dict[str, Any] = {}
        for i, (method, settings) in enumerate(self.parts):
            with self._blamed(i):
                own = method.grow(settings, base, jax.random.fold_in(key, i)) if method.grow else {}
            grown = _merged(grown, _unless_kept(own, grown))
            if method.interceptor:
                with self._blamed(i):
                    context = Pass(self.model, 1.0, grown.get("adapters", {}), False)
                    interceptor = method.interceptor(settings, context)
                    added = passing.added_by(interceptor, self.model, variables, key)
                    if not added:
                        raise labelling.no_target(method, settings, self.model)
                grown = _merged(grown, {"adapters": added})
        return {**variables, **grown}

    def abstract(self) -> dict[str, Any]:
        """Shapes and dtypes of all variables, computed without any arithmetic."""
        return _abstract(self)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Which of the moving leaves move from when on; one phase for most methods."""
        return _phases(self)

    def labels(self, phase: int = -1) -> dict[str, str]:
        """The label of every parameter and adapter in a phase; statistics have their own.

        Args:
          phase: index into `phases`; the last one opens everything that ever moves.

        Returns:
          Path to label. Leaves that join in a later phase carry its number, `train#1`, so that their part of
          the optimizer's state starts when they do.

        Raises:
          ConfigError: a setting that does not fit the model, with the field's own name.
        """
        return _labels(self, phase % len(self.phases))

    def stat_labels(self, phase: int = -1) -> dict[str, str]:
        """`stats` for running statistics that a phase updates, `frozen` for the others, by path."""
        return _stat_labels(self, phase % len(self.phases))

    def split(
        self, variables: dict[str, Any], phase: int = -1
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The variables as a run holds them.

        Args:
          variables: parameters, adapters, statistics and references.
          phase: index into `phases`.

        Returns:
          `(trainable, stats, frozen)`: three nested dicts that share no leaf and whose union is the tree.
        """
        labels = {**self.labels(phase), **self.stat_labels(phase)}
        frozen, stats, trainable = split_by(
            variables, lambda path: {"frozen": 0, "stats": 1}.get(labels.get(path, "frozen"), 2), 3
        )
        return trainable, stats, frozen

    def lr_scale(self) -> tuple[tuple[str, float], ...]:
        """Labels whose learning rate has a factor, and the factor."""
        return _lr_scale(self)

    def cut(self, phase: int = -1) -> int:
        """How many stages from the input up stay as they are, so that their output can be cached."""
        return leading_frozen({**self.labels(phase), **self.stat_labels(phase)}, self.model.stages)

    def apply(
        self,
        variables: dict[str, Any],
        x: Any,
        *,
        first: int = 0,
        last: int | None = None,
        train: bool = False,
        phase: int = -1,
        scale: jax.Array | float = 1.0,
        rng: jax.Array | None = None,
        axis: str | None = None,
        dropout: jax.Array | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """The forward pass through stages `first` to `last`.

        Args:
          variables: parameters, adapters and statistics; with a `cache`, be it empty, a decoder keeps keys and values.
          x: images [B, H, W, C] in [-1, 1], token ids [B, T], or the output of stage `first - 1`.
          first: index of the first stage.
          last: index after the last stage, or None for all.
          train: whether this is a training step. Stages below the cut run in evaluation mode even then.
          phase: decides which statistics a training step updates.
          scale: factor on the adapters' effect; may be traced.
          rng: key for dropout, or None where there is none.
          axis: name of the device axis whose parts make up one batch under `pmap`, or None.
          dropout: the rate of every dropout in the model, which may be traced; None for the model's own.

        Returns:
          The last stage's output, logits in float32, and what changed: the running statistics a training step
          updated, and the `cache` where the variables have one; `{}` for nothing.
        """
        last = len(self.model.stages) if last is None else last
        for method, settings in self.parts:
            if method.rewrite:
                variables = method.rewrite(settings, variables, scale)
        variables = passing.lowered(variables, self.precision)
        # What comes from a stage is as that stage gave it: positions, for one, stay float32.
        x = x if first else passing.cast(x, self.precision)
        run = functools.partial(passing.run, self.model, self.parts, variables, scale=scale)
        changed: dict[str, Any] = {}
        if train:
            cut = min(max(first, self.cut(phase)), last)
            if first < cut:
                x, _ = run(x, first, cut)
            updating = frozenset(path for path, label in self.stat_labels(phase).items() if label == "stats")
            out, changed = run(x, cut, last, train=True, rng=rng, updating=updating, axis=axis, dropout=dropout)
        else:
            out, changed = run(x, first, last)
        is_low = self.precision != "float32" and last == len(self.model.stages)
        return passing.cast(out, "float32") if is_low else out, changed

    def _blamed(self, i: int) -> Any:
        return labelling.blamed_on_part(self.parts[i][0].name if i else "")


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The union of two nested dicts that share no leaf."""
    both = dict(one)
    for key, value in other.items():
        if key in both and not (isinstance(value, dict) and isinstance(both[key], dict)):
            raise ConfigError("also", f"two methods add the same leaf {key!r}")
        both[key] = _merged(both[key], value) if key in both else value
    return both


def _unless_kept(own: dict[str, Any], grown: dict[str, Any]) -> dict[str, Any]:
    """What a method grows, less the start of the run where another keeps it to compare with already."""
    kept = grown.get("reference", {})
    if ANCHOR not in kept or ANCHOR not in own.get("reference", {}):
        return own
    return {**own, "reference": {name: leaves for name, leaves in own["reference"].items() if name != ANCHOR}}


def _check_parts(parts: tuple[Part, ...]) -> None:
    """Whether methods can stand on one tree."""
    if len(parts) > 1 and (reasons := [f"{method.name!r} {method.alone}" for method, _ in parts if method.alone]):
        raise ConfigError("also", f"{reasons[0]}, so no other method can stand beside it")


@functools.cache
def _abstract(adapted: Adapted) -> dict[str, Any]:
    _check_parts(adapted.parts)
    source = replace(adapted.model, num_classes=adapted.source_classes or adapted.model.num_classes)
    shapes: dict[str, Any] = jax.eval_shape(lambda: adapted.init_adapters(adapted.model.init(0), 0, source.init(0)))
    return shapes


@functools.cache
def _phases(adapted: Adapted) -> tuple[Phase, ...]:
    found = [method.phases(settings, adapted.anatomy) for method, settings in adapted.parts if method.phases]
    if len(found) > 1:
        raise ConfigError("also", "two methods with phases; one must decide which leaves move when")
    return found[0] if found else ALWAYS


@functools.cache
def _labels(adapted: Adapted, phase: int) -> dict[str, str]:
    own = [adapted]
    if adapted.also:
        own = [Adapted(adapted.model, method.name, tuple(settings.items())) for method, settings in adapted.parts]
    paths = []
    for i, one in enumerate(own):
        with labelling.blamed_on_part(one.method if i else ""):
            paths.append(labelling.adapter_paths(one.abstract()))
    labels = labelling.label_parts(adapted.parts, paths, adapted.anatomy)
    return labelling.in_phase(labels, adapted.phases, phase)


@functools.cache
def _stat_labels(adapted: Adapted, phase: int) -> dict[str, str]:
    paths = [path for path in adapted.anatomy.leaves if path.startswith("batch_stats/")]
    return labelling.stat_labels(paths, adapted.labels(phase), adapted.stats)


@functools.cache
def _lr_scale(adapted: Adapted) -> tuple[tuple[str, float], ...]:
    factors: dict[str, float] = {}
    for method, settings in adapted.parts:
        if method.lr_scale:
            factors |= method.lr_scale(settings, adapted.anatomy)
    return tuple(sorted(factors.items()))
