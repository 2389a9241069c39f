"""Cells to units of work to programs: what will run, how, and why so."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from tlx import records, tree
from tlx.adapt.adapted import Adapted
from tlx.data.mixed import Parts
from tlx.data.on_disk import OnDisk
from tlx.data.ops.pipeline import NO_OPS
from tlx.data.pipeline import Arrays
from tlx.loop import call_end
from tlx.models.conv import is_better_unlooped
from tlx.models.registry import Model
from tlx.partition import FROZEN
from tlx.step import Task
from tlx.study.cells import Cell, Released, SourceData, TargetData, source_classes
from tlx.study.copied import above, is_fresh_below
from tlx.study.search import Heat, heats
from tlx.study.spec import TRANSFER, Search, Study

# Long enough that Python's share of a step vanishes, short enough that progress and stops feel immediate.
STEPS_PER_CALL = 25

# The head is the target's own; every other leaf of a transferred tree must come from the source.
RESET = ("params/head/.*",)


def resets(variables: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a target tree stays fresh: its head, unless the table of words is the head and comes from the source."""
    return RESET if variables["params"].get("head") else ()


@dataclass(frozen=True)
class Unit:
    """Work that is done together: cells that differ in budget and seed only.

    Args:
      id: content id of its cells and of how they are run, as the latter decides the last bits.
      cells: what it will record.
      task: what every one of its runs is.
      strategy: `loop`, runs one after another through one program; `fused`, all in one program; `solved`, no steps.
      reason: why that strategy.
      chunk: train steps in one call.
      search: how each cell's trials are chosen.
      every: steps after which a trial is scored on the way, 0 for never.
    """

    id: str
    cells: tuple[Cell, ...]
    task: Task
    strategy: str
    reason: str
    chunk: int
    search: Search = field(default_factory=Search)
    every: int = 0

    @property
    def first(self) -> Cell:
        """A cell that stands for what all of them share."""
        return self.cells[0]

    @property
    def heats(self) -> tuple[Heat, ...]:
        """Which trials of each cell are trained together, from where to where."""
        return heats(self.search, self.first.entry, self.task.steps)

    @property
    def runs(self) -> int:
        """Training runs: every cell makes every one of its trials."""
        return len(self.cells) * sum(heat.points for heat in self.heats if not heat.start)

    @property
    def steps(self) -> int:
        """Train steps of all runs together, those that are stopped early counted as far as they go."""
        return len(self.cells) * sum(heat.points * (heat.stop - heat.start) for heat in self.heats)

    @property
    def name(self) -> str:
        """For people: entry, source, target and budgets; no two units of a study have the same."""
        budgets = sorted({cell.budget for cell in self.cells})
        first, source = self.first, f"{self.first.source.name} " if self.first.source else ""
        return f"{first.entry.name}: {source}→ {first.target.name}, {'/'.join(map(str, budgets))} labels"


def make_units(
    study: Study,
    cells: Sequence[Cell],
    sources: Mapping[str, SourceData | Released],
    targets: Mapping[str, TargetData],
    devices: int,
) -> list[Unit]:
    """All units of a study. They depend on the study alone, never on what is already recorded.

    Args:
      study: the grid.
      cells: from `expand`.
      sources: examples by source name.
      targets: examples by target name.
      devices: how many a run is spread over.

    Returns:
      Units in the grid's order; every cell is in exactly one.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    choices: dict[tuple[Any, ...], tuple[Task, str, str]] = {}
    for cell in cells:
        model = model_of(study, targets[cell.target.name].train)
        classes = source_classes(sources[cell.source.name]) if cell.source else 0
        adapted = replace(cell.entry.adapted(model, classes), precision=study.recipe.precision)
        task = _task(study, adapted, cell)
        strategy, reason = choose_strategy(study, task, cell.entry.arm, cell.entry.copied)
        alike = (cell.entry.name, cell.source and cell.source.name, cell.target.name)
        key = (*alike, cell.budget) if strategy == "loop" else alike
        groups.setdefault(key, []).append(cell)
        choices[key] = (task, strategy, reason)
    units = []
    for key, members in groups.items():
        task, strategy, reason = choices[key]
        every = max(task.steps // study.evaluations, 1) if study.evaluations else 0
        chunk = _divisor(every, steps_per_call(study, task.adapted.model))
        how = {"strategy": strategy, "chunk": chunk, "devices": devices, "compile": study.execution.compile}
        unit_id = records.content_id({"cells": [cell.id for cell in members], **how})
        units.append(Unit(unit_id, tuple(members), task, strategy, reason, chunk, study.search, every))
    return units


def _divisor(every: int, chunk: int) -> int:
    """The longest call, of so many steps at most, of which looks at a trial are a whole number apart."""
    return max(length for length in range(1, min(every, chunk) + 1) if every % length == 0) if every else chunk


def _task(study: Study, adapted: Adapted, cell: Cell) -> Task:
    """What a run is; where ops draw, every step has inputs of its own and nothing below the cut can be kept."""
    ops = study.pipeline(adapted.model.num_classes)
    first = 0 if ops.random else adapted.cut()
    entry, steps = cell.entry, study.recipe_of(cell.target).steps
    return Task(
        adapted,
        entry.optimizer,
        steps,
        first=first,
        ops=NO_OPS if first else ops,
        dropout=entry.own_dropout,
        shortened=entry.own_length,
    )


def train_programs(study: Study, units: Sequence[Unit]) -> int:
    """How many train-step programs a study compiles, pre-training included.

    Args:
      study: the grid.
      units: from `make_units`.

    Returns:
      The number of distinct programs; cells that differ in numbers only share one.
    """
    programs: set[Hashable] = set()
    for source in study.sources:
        if source.checkpoint:
            continue
        for length in _call_lengths(0, source.recipe.steps, units[0].chunk):
            programs.add((source.datasets, source.train, source.objective, source.recipe, source.optimizer, length))
    for unit in (unit for unit in units if unit.strategy != "solved"):
        # A fused program holds one pool of inputs for each backbone that its cut makes different.
        fresh = is_fresh_below(unit.task.adapted.model, unit.first.entry.copied, unit.task.first)
        own = unit.task.first > 0 and (unit.first.entry.arm != TRANSFER or fresh)
        pools = len({cell.seed for cell in unit.cells}) if own else 1
        for heat in unit.heats:
            shape = (len(unit.cells) * heat.points, pools) if unit.strategy == "fused" else ()
            inside = [bound for bound in unit.task.bounds if heat.start < bound < heat.stop]
            for start, stop in itertools.pairwise([heat.start, *inside, heat.stop]):
                for length in _call_lengths(start, stop, unit.chunk, unit.every):
                    programs.add((unit.task.at(start), unit.strategy, unit.first.target, shape, length))
    return len(programs)


def _call_lengths(start: int, stop: int, chunk: int, every: int = 0) -> set[int]:
    lengths = set()
    while start < stop:
        end = min(call_end(start, chunk, every), stop)
        lengths.add(end - start)
        start = end
    return lengths


def model_of(study: Study, arrays: Arrays | OnDisk | Parts) -> Model:
    """The study's architecture for one data set."""
    input_shape = study.pipeline().input_shape(arrays.input_shape)
    # Scores are one number.
    return Model(study.model, study.model_settings, arrays.num_classes or 1, input_shape)


def choose_strategy(study: Study, task: Task, arm: str, copied: int = 0) -> tuple[str, str]:
    """`loop`, `fused` or `solved`, and the reason in a few words.

    Args:
      study: may override the choice; names the devices.
      task: what is run.
      arm: decides whether the runs share their frozen leaves.
      copied: stages that come from the source, 0 for all.

    Returns:
      The strategy and why.
    """
    execution = study.execution
    below = task.adapted.model.stages[: task.first]
    cached = f"{'…'.join(dict.fromkeys((below[0], below[-1])))} frozen: cached; " if below else ""
    if task.ops.random and task.adapted.cut():
        drawing = next(op.name for op in task.ops.ops if op.random)
        cached = f"{drawing} draws other inputs at every step: nothing cached; "
    if any(method.solve for method, _ in task.adapted.parts):
        return "solved", f"{cached}the heads of each cell have a closed form, or are a convex problem"
    if execution.compile == "pmap":
        return "loop", f"{cached}pmap spreads one run over the devices"
    if len(task.adapted.phases) > 1:
        return "loop", f"{cached}it has phases, which fused runs do not"
    if not shares_frozen(task, arm, copied):
        return "loop", f"{cached}each seed has frozen leaves of its own"
    if execution.strategy != "auto":
        return execution.strategy, f"{cached}set by config.plan.strategy"
    if task.first >= len(task.adapted.model.stages) - 1:
        return "fused", f"{cached}heads are too small to fill any device alone"
    if jax.default_backend() == "cpu":
        return "loop", f"{cached}on a CPU one shared program in turn beats vmap for this model"
    return "fused", f"{cached}vmap fills the accelerator"


def shares_frozen(task: Task, arm: str, copied: int = 0) -> bool:
    """Whether all seeds have the same frozen leaves above the cut, as a fused program wants it.

    Args:
      task: what is run.
      arm: only `transfer` takes leaves from the source.
      copied: of how many stages, 0 for all.

    Returns:
      False if any leaf that is used and frozen comes from a seed.
    """
    adapted = task.adapted
    labels = {**adapted.labels(), **adapted.stat_labels()}
    idle = adapted.anatomy.idle_above
    fresh = (*RESET, *above(adapted.model, copied))
    used = [path for path, label in labels.items() if label == FROZEN and not idle(path, task.first)]
    own = [path for path in used if path.startswith("adapters/") or any(tree.matches(rule, path) for rule in fresh)]
    # From the target's own labelled examples, or from the source's with a key of the seed.
    calibrated = any(method.calibrate for method, _ in adapted.parts)
    return not calibrated and not (used if arm != TRANSFER else own)


def steps_per_call(study: Study, model: Model) -> int:
    """How many train steps one call of a program makes: one, where a loop around them would slow each of them down.

    Args:
      study: may set the number.
      model: what is trained.
    """
    if study.execution.steps_per_call:
        return study.execution.steps_per_call
    on_cpu = jax.default_backend() == "cpu"
    return 1 if on_cpu and is_better_unlooped(lambda: model.init(0)) else STEPS_PER_CALL
