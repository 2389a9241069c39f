"""What would run: cells, programs, label trees, costs, and why each strategy was chosen."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tlx import tree
from tlx.adapt.anatomy import stage_of
from tlx.records import Records
from tlx.report.wording import amount, duration, span
from tlx.study.cells import Released
from tlx.study.cost import Size, size_of, step_bytes, step_flops
from tlx.study.estimates import is_estimated, places
from tlx.study.features import written_bytes
from tlx.study.plan import Unit, train_programs
from tlx.study.predict import Prediction, predict
from tlx.study.run import Grid
from tlx.study.spec import DISK, OPTUNA, Search

# Columns when the output is a file or a pipe.
PIPE_WIDTH = 132


@dataclass(frozen=True)
class Part:
    """A stage's share of one label.

    Args:
      stage: of the model.
      label: of the leaves.
      leaves: path to shape.
      parameters: how many numbers they hold.
    """

    stage: str
    label: str
    leaves: dict[str, tuple[int, ...]]
    parameters: int


@dataclass(frozen=True)
class EntryPlan:
    """How one entry is run.

    Args:
      entry: its name.
      arm: what it starts from.
      method: how it adapts.
      rules: `(pattern, label)` pairs.
      parts: its label tree, stage by stage.
      phases: the step at which each phase begins.
      size: counts and bytes.
      step_flops: of one train step; 0 where there are none.
      step_bytes: memory that one train step takes at once.
      strategy: `loop`, `fused` or `solved`.
      reason: why.
      cut: stages whose output is cached.
      cells: how many.
      runs: training runs, learning-rate trials included.
    """

    entry: str
    arm: str
    method: str
    rules: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    phases: tuple[int, ...]
    size: Size
    step_flops: float
    step_bytes: float
    strategy: str
    reason: str
    cut: int
    cells: int
    runs: int


@dataclass(frozen=True)
class Outline:
    """A plan, ready to be shown.

    Args:
      study: its name.
      cells: how many.
      recorded: of these, how many have a record.
      programs: train-step programs that will be compiled.
      steps: of each run, where its target does not say otherwise.
      schedules: of the runs on each target.
      batch_size: of each step.
      devices: one run is spread over.
      compile: `jit` or `pmap`.
      sources: pre-trainings, name to number of steps.
      checkpoints: name to where its weights are and what wrote them.
      left: what remains to be computed.
      entries: one plan each.
      features: where activations at the cuts are kept, `disk` or `memory`.
      features_bytes: what they take, each counted once.
      search: how trials are chosen, in words; empty where every rate is tried.
      estimators: what will be estimated, of every source at every target, budget and seed.
      places: how many these are.
      estimated: of these, how many have their estimates.
    """

    study: str
    cells: int
    recorded: int
    programs: int
    steps: int
    schedules: dict[str, int]
    batch_size: int
    devices: int
    compile: str
    sources: dict[str, int]
    checkpoints: dict[str, str]
    left: Prediction
    entries: tuple[EntryPlan, ...]
    features: str
    features_bytes: int
    estimators: tuple[str, ...]
    places: int
    estimated: int
    search: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def outline(grid: Grid, work: Path) -> Outline:
    """What a laid-out study will do.

    Args:
      grid: from `study.run.lay_out`.
      work: its work folder; only looked at.

    Returns:
      The plan.
    """
    study = grid.study
    records = Records(work)
    by_entry: dict[str, list[Unit]] = {}
    for unit in grid.units:
        by_entry.setdefault(unit.first.entry.name, []).append(unit)
    return Outline(
        study=study.name,
        cells=len(grid.cells),
        recorded=sum(records.has(cell.id) for cell in grid.cells),
        programs=train_programs(study, grid.units),
        steps=study.recipe.steps,
        schedules={target.name: study.recipe_of(target).steps for target in study.targets},
        batch_size=study.recipe.batch_size,
        devices=grid.placement.devices,
        compile=study.execution.compile,
        sources={source.name: source.recipe.steps for source in study.sources if not source.checkpoint},
        checkpoints={
            name: f"{data.weights.path}, {data.weights.format}"
            for name, data in grid.sources.items()
            if isinstance(data, Released)
        },
        left=predict(grid, work),
        entries=tuple(_entry(units, study.recipe.batch_size) for units in by_entry.values()),
        features=study.execution.features,
        features_bytes=written_bytes(grid.units, grid.targets),
        search=_search(study.search, grid.units[0]) if study.search.identity() else "",
        estimators=study.execution.estimators,
        places=len(places(grid.units)),
        estimated=sum(is_estimated(study, cell, grid.sources, grid.targets, work) for cell in places(grid.units)),
    )


def _entry(units: list[Unit], batch_size: int) -> EntryPlan:
    unit = units[0]
    task, entry, solved = unit.task, unit.first.entry, unit.strategy == "solved"
    return EntryPlan(
        entry=entry.name,
        arm=entry.arm,
        method=entry.method,
        rules=tuple(rule for method, own in task.adapted.parts for rule in method.rules(own, task.adapted.anatomy)),
        parts=tuple(_parts(unit)),
        phases=task.bounds,
        size=replace(size_of(task), optimizer_bytes=0) if solved else size_of(task),
        step_flops=0.0 if solved else step_flops(task, batch_size),
        step_bytes=math.nan if solved else step_bytes(task, batch_size),
        strategy=unit.strategy,
        reason=unit.reason,
        cut=task.first,
        cells=sum(len(unit.cells) for unit in units),
        runs=sum(unit.runs for unit in units),
    )


def _search(search: Search, unit: Unit) -> str:
    """Trials of each cell, the same in every arm, e.g. `halving: 9 trials, 3 from step 22, 1 from step 66`."""
    if search.kind == OPTUNA:
        return f"{search.kind}: {search.trials} trials, one after another"
    first, *later = unit.heats
    drawn = " drawn" if search.trials else ""
    words = [f"{search.kind}: {first.points} trials{drawn}"]
    words += [f"{heat.points} from step {heat.start}" for heat in later if heat.start]
    more = sum(heat.points for heat in later if not heat.start)
    return ", ".join([*words, *([f"{more} more where results point"] if more else [])])


def _parts(unit: Unit) -> Iterable[Part]:
    adapted = unit.task.adapted
    shapes = tree.flatten(adapted.abstract())
    labels = adapted.labels()
    stages = adapted.model.stages
    for stage in (*stages, None):
        mine = [path for path in labels if stage_of(path, stages) == stage]
        for label in dict.fromkeys(labels[path] for path in mine):
            leaves = {path: tuple(shapes[path].shape) for path in mine if labels[path] == label}
            yield Part(stage or "shared", label, leaves, sum(shapes[path].size for path in leaves))


def show(plan: Outline, leaves: bool = False) -> None:
    """Print a plan.

    Args:
      plan: from `outline`.
      leaves: whether to list every leaf.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    of_runs = span(plan.schedules.values(), str)
    console.print(
        f"[bold]{plan.study}[/]: {plan.cells} cells, {plan.recorded} of them recorded; "
        f"{sum(entry.runs for entry in plan.entries)} runs of {of_runs} steps, batch {plan.batch_size}, "
        f"{plan.programs} train programs; {plan.compile} on {plan.devices} device(s)"
    )
    left = plan.left
    console.print(
        f"left: {amount(left.flops, 'FLOP')} of training, about {duration(left.seconds)} ({left.basis}, "
        f"{amount(left.rate, 'FLOP/s')})"
    )
    for name, steps in plan.sources.items():
        console.print(f"pre-train once: {name}, {steps} steps")
    for name, what in plan.checkpoints.items():
        console.print(f"load: {name}, {what}")
    if plan.search:
        console.print(f"search of each cell, {plan.search}")
    if plan.features_bytes:
        where = "WORKDIR/features" if plan.features == DISK else "memory"
        console.print(f"activations at the cuts: {_bytes(plan.features_bytes)}, kept once in {where}")
    if plan.estimators:
        console.print(
            f"estimates for {plan.places} (source, target, budget, seed), {plan.estimated} of them there, in "
            f"WORKDIR/estimates after the cells: {', '.join(plan.estimators)}"
        )
    console.print(_overview(plan))
    for entry in plan.entries:
        console.print(f"\n[bold]{entry.entry}[/] ({entry.arm}, {entry.method}): {entry.strategy}, {entry.reason}")
        console.print("  rules: " + ", ".join(f"{pattern} → {label}" for pattern, label in entry.rules), markup=False)
        if len(entry.phases) > 1:
            begins = ", ".join(f"#{phase} from step {step}" for phase, step in enumerate(entry.phases) if phase)
            console.print(f"  joins later: {begins}")
        console.print(_label_tree(entry, leaves))


def _overview(plan: Outline) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (
        "entry",
        "cells",
        "runs",
        "trains",
        "of",
        "share",
        "frozen",
        "optimizer",
        "FLOPs/step",
        "memory",
        "strategy",
    ):
        table.add_column(column, justify="left" if column in ("entry", "strategy") else "right", no_wrap=True)
    for entry in plan.entries:
        size = entry.size
        table.add_row(
            entry.entry,
            str(entry.cells),
            str(entry.runs),
            f"{size.trainable:,}",
            f"{size.total:,}",
            f"{size.trainable / size.total:.2%}",
            _bytes(size.frozen_bytes),
            _bytes(size.optimizer_bytes),
            f"{entry.step_flops / 1e6:,.2f} M" if entry.step_flops else "no steps",
            "–" if math.isnan(entry.step_bytes) else _bytes(entry.step_bytes),
            entry.strategy,
        )
    return table


def _label_tree(entry: EntryPlan, leaves: bool) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("  stage", "label", "leaves", "parameters"):
        table.add_column(column, justify="right" if column in ("leaves", "parameters") else "left")
    for part in entry.parts:
        style = "dim" if part.label == "frozen" else "green"
        table.add_row(f"  {part.stage}", part.label, str(len(part.leaves)), f"{part.parameters:,}", style=style)
        if leaves:
            for path, shape in part.leaves.items():
                table.add_row(f"    {path}", part.label, "×".join(map(str, shape)), "", style=style)
    return table


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
