"""A study's cells and their content ids."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tlx import records
from tlx.data.builders import spelled
from tlx.data.firewall import Firewall, split_facts
from tlx.data.mixed import Parts, joined_table
from tlx.data.on_disk import OnDisk
from tlx.data.ops.op import Op
from tlx.data.order import index_table
from tlx.data.pipeline import Arrays
from tlx.study.spec import LABEL, RANGES, TRANSFER, Entry, Recipe, Source, Study, Target
from tlx.study.weights import Weights

# Raised when a change of tlx alters the numbers a config gives, so that old records are not mistaken for new.
NUMERICS = 5
# Of a source: what does not change its weights, or is told otherwise.
_NO_RECIPE = ("checkpoint", "feed", "start", "objective", "also", "weights", "pack")


@dataclass(frozen=True)
class TargetData:
    """A target's examples.

    Args:
      train: the labels are drawn from these.
      validation: the learning rate is chosen on these.
      test: scored once, behind a door that opens after selection.
    """

    train: Arrays
    validation: Arrays
    test: Firewall

    def facts(self) -> dict[str, dict[str, Any]]:
        """Split, size, counts of each class and content digest of each, for records."""
        own = {"train": split_facts(self.train), "validation": split_facts(self.validation)}
        return {**own, "test": self.test.facts()}

    def digests(self) -> dict[str, Any]:
        """What of `facts` tells one set of examples from another, for identities."""
        return {
            role: {name: facts[name] for name in ("split", "examples", "digest")}
            for role, facts in self.facts().items()
        }


@dataclass(frozen=True)
class SourceData:
    """A source's examples.

    Args:
      train: the pre-training examples, in memory or on disk.
      test: what the pre-trained model is scored on.
      sizes: of the data sets that it is a mixture of, one after the other in `train`; () for a single one.
      weights: share of each in the batches.
      op: makes labels of tokens, or None.
      start: digest of the weights that its training starts from, empty for random ones.
    """

    train: Arrays | OnDisk | Parts
    test: Arrays
    sizes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    op: Op | None = None
    start: str = ""

    def table(self, batch_size: int, seed: int, start: int, stop: int) -> np.ndarray:
        """Which training examples make up steps `start` to `stop - 1`, [steps, batch]."""
        if self.sizes:
            return joined_table(self.sizes, self.weights, batch_size, seed, start, stop)
        return index_table(len(self.train), batch_size, seed, start, stop)

    def some(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and labels of a few training examples: the first ones, of a mixture such as a batch would be."""
        count = min(count, len(self.train))
        return self.train.at(np.unique(self.table(count, 0, 0, 1)[0]) if self.sizes else np.arange(count))


@dataclass(frozen=True)
class Released:
    """A source that is not trained here.

    Args:
      weights: what the checkpoint describes.
      digest: of its files, in hex.
    """

    weights: Weights
    digest: str


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def source_classes(data: SourceData | Released) -> int:
    """Outputs of a source model's head, 0 where a checkpoint has none."""
    if isinstance(data, SourceData):
        return data.train.num_classes
    return data.weights.model.num_classes if data.weights.has_head else 0


@dataclass(frozen=True)
class Cell:
    """One fully specified result: an entry, from a source, to a target, at a budget, for a seed.

    Args:
      id: content id; equal ids mean equal results.
      source: None for the arms that start from random weights, so that all sources share them.
      target: where to.
      entry: how.
      budget: target labels.
      seed: which subset, initial head and batch order; the same in every arm.
      identity: everything the id was made from, as plain values.
    """

    id: str
    source: Source | None
    target: Target
    entry: Entry
    budget: int
    seed: int
    identity: Mapping[str, Any]

    def _also(self) -> dict[str, Any]:
        return {"also": {name: dict(settings) for name, settings in self.entry.also}} if self.entry.also else {}

    def key(self) -> dict[str, Any]:
        """The cell's place in the grid, as a record holds it."""
        return {
            "source": self.source.name if self.source else None,
            "target": self.target.name,
            "entry": self.entry.name,
            "arm": self.entry.arm,
            "method": {"name": self.entry.method, **dict(self.entry.settings), **self._also()},
            "budget": self.budget,
            "seed": self.seed,
        }


def expand(study: Study, sources: Mapping[str, SourceData | Released], targets: Mapping[str, TargetData]) -> list[Cell]:
    """Every cell of the grid, each once.

    Args:
      study: the grid.
      sources: examples by source name.
      targets: examples by target name.

    Returns:
      Cells in the grid's order: target, source, entry, budget, seed.
    """
    cells: dict[str, Cell] = {}
    for target in study.targets:
        for entry in study.entries:
            for source in study.sources if entry.arm == TRANSFER else (None,):
                for budget in study.budgets:
                    for seed in study.seeds:
                        identity = _identity(study, source, target, entry, sources, targets)
                        identity |= {"budget": budget, "per_class": study.per_class, "seed": seed}
                        cell_id = records.content_id(identity)
                        cells[cell_id] = Cell(cell_id, source, target, entry, budget, seed, identity)
    return list(cells.values())


def _identity(
    study: Study,
    source: Source | None,
    target: Target,
    entry: Entry,
    sources: Mapping[str, SourceData | Released],
    targets: Mapping[str, TargetData],
) -> dict[str, Any]:
    return {
        "numerics": NUMERICS,
        "model": {"name": study.model, **dict(study.model_settings)},
        "source": source_identity(study, source, sources[source.name]) if source else None,
        "target": {**_target(target), "dataset": spelled(target.dataset), "data": targets[target.name].digests()},
        "entry": {
            **_telling(entry, study.recipe),
            "settings": dict(entry.settings),
            "also": {name: dict(settings) for name, settings in entry.also},
        },
        "recipe": asdict(study.recipe_of(target)),
        "ops": study.pipeline(2).canonical(),
        # The learning rate is chosen by its mean over the seeds, so they are part of what a cell is.
        "seeds": list(study.seeds),
        **({"evaluations": study.evaluations} if study.evaluations else {}),
        **({"search": search} if (search := study.search.identity()) else {}),
    }


def _telling(entry: Entry, recipe: Recipe) -> dict[str, Any]:
    """An entry's fields, less those that say what holds anyway, so that more can be added without changing ids."""
    silent: dict[str, Any] = {
        "label_smoothing": recipe.label_smoothing,
        "dropout": None,
        "scale": 1.0,
        "length": 1.0,
        "copied": 0,
    }
    silent |= dict.fromkeys(RANGES.values(), ())
    return {name: value for name, value in asdict(entry).items() if name not in silent or value != silent[name]}


def _target(target: Target) -> dict[str, Any]:
    settings = asdict(target)
    del settings["steps"]  # the recipe says it
    if settings["predict"] == LABEL:  # what is silent is left out
        del settings["predict"]
    return settings


def source_identity(study: Study, source: Source, data: SourceData | Released) -> dict[str, Any]:
    """Everything the source's weights depend on: of a checkpoint its content, not the name of its folder.

    Args:
      study: names the model.
      source: the recipe.
      data: its examples.

    Returns:
      Plain values, to be digested.
    """
    model = {"name": study.model, **dict(study.model_settings)}
    if isinstance(data, Released):
        return {"numerics": NUMERICS, "model": model, "name": source.name, "checkpoint": data.digest}
    recipe = {key: value for key, value in asdict(source).items() if key not in _NO_RECIPE}
    # What is silent is left out, so that what it means can be added to without changing older ids.
    more = {
        "mixture": [list(map(spelled, source.also)), list(data.weights)] if data.sizes else None,
        "objective": [data.op.name, _plain(data.op.settings())] if data.op else None,
        "packed": source.pack or None,
        "start": data.start or None,
    }
    return {
        **{key: value for key, value in more.items() if value is not None},
        "numerics": NUMERICS,
        "model": model,
        **recipe,
        "dataset": spelled(source.dataset),
        "ops": study.pipeline(2).canonical(),
        "data": {"train": data.train.digest, "test": data.test.digest},
    }
