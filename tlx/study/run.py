"""A study from config to records."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tlx import atomic
from tlx.data import source
from tlx.lock import exclusive
from tlx.progress import Progress
from tlx.records import Records
from tlx.runners.local import default_workers, run_jobs
from tlx.sharding import Placement, make_placement
from tlx.study.cells import Cell, Released, SourceData, TargetData, expand
from tlx.study.check import blamed_on, check_devices, check_overlap, check_study
from tlx.study.context import Context
from tlx.study.failing import or_failed
from tlx.study.loading import Loader
from tlx.study.plan import Unit, make_units
from tlx.study.spec import Folders, Source, Study
from tlx.study.standing import Standing
from tlx.study.text import tokenizer_of
from tlx.study.unit import run_unit
from tlx.study.weights import content_digest, open_weights

# Of a work folder, what many cells write into.
_PARTS = ("records", "timings", "failures", "artifacts")


@dataclass(frozen=True)
class Grid:
    """A study laid out: its data loaded, its cells and units made, nothing run.

    Args:
      study: the spec.
      sources: examples or checkpoints by source name.
      targets: examples by target name.
      cells: every cell.
      units: every unit.
      placement: the devices.
    """

    study: Study
    sources: dict[str, SourceData | Released]
    targets: dict[str, TargetData]
    cells: list[Cell]
    units: list[Unit]
    placement: Placement

    def manifest(self) -> dict[str, Any]:
        """The cells a report must show, as plain values."""
        return {
            "study": self.study.name,
            "command": self.study.command,
            "config": self.study.config,
            "cells": [{"id": cell.id, "cell": cell.key()} for cell in self.cells],
        }


def lay_out(study: Study, folders: Folders, progress: Progress) -> Grid:
    """Load the data and make the cells and units.

    Args:
      study: the spec.
      folders: where data is prepared.
      progress: what the user sees.

    Returns:
      The grid.

    Raises:
      ConfigError: something in it cannot be run; what is checked is in `check`.
    """
    check_devices(study.execution)
    for field, name in _datasets(study):
        with blamed_on(field):
            source.prepare(name, folders.data)

    weights = [path for s in study.sources if (path := s.checkpoint or s.start)]
    tokenize = tokenizer_of(study, folders.data, weights)
    loader = Loader(study, folders.data, tokenize)
    sources = {s.name: _released(s) if s.checkpoint else loader.source(s) for s in study.sources}
    targets = {t.name: loader.target(t) for t in study.targets}
    placement = make_placement(study.execution.compile, study.execution.data, study.execution.fsdp)
    check_study(study, sources, targets, placement)
    check_overlap(study, folders.data)
    cells = expand(study, sources, targets)
    units = make_units(study, cells, sources, targets, placement.devices)
    return Grid(study, sources, targets, cells, units, placement)


def _datasets(study: Study) -> Iterator[tuple[str, str]]:
    """Every field that names a data set, and the data set."""
    for s in study.sources:
        for i, name in enumerate(s.datasets):
            yield f"config.sources.{s.name}.{f'also[{i - 1}]' if i else 'dataset'}", name
    for t in study.targets:
        yield f"config.targets.{t.name}.dataset", t.dataset


def _released(source: Source) -> Released:
    weights = open_weights(source.checkpoint)
    return Released(weights, content_digest(weights))


def in_order(units: Sequence[Unit]) -> list[Unit]:
    """The order in which units are begun, so that no worker waits for another.

    Args:
      units: any.

    Returns:
      For each source one unit that will pre-train it, then what needs no source, then the rest; longest first.
    """
    longest = sorted(units, key=lambda unit: -unit.runs * unit.task.steps * (unit.strategy == "loop"))
    first = list({unit.first.source: unit for unit in reversed(longest) if unit.first.source}.values())
    without = [unit for unit in longest if unit.first.source is None]
    return [*first, *without, *(unit for unit in longest if unit not in first and unit not in without)]


def run(study: Study, folders: Folders, progress: Progress, on_context: Callable[[Context], None]) -> Grid:
    """Run what has no record yet.

    Args:
      study: the spec.
      folders: where.
      progress: what the user sees.
      on_context: given the context before any work, so that the caller can stop it.

    Returns:
      The grid; every cell of it has a record, or a note why it failed.

    Raises:
      ConfigError: something in it cannot be run.
      FileError: another process is at work in the folder.
      Stopped: it was asked to stop; what was done is saved.
    """
    grid = lay_out(study, folders, progress)
    with exclusive(folders.work):
        _run(grid, folders, progress, on_context)
    return grid


def _run(grid: Grid, folders: Folders, progress: Progress, on_context: Callable[[Context], None]) -> None:
    study, records = grid.study, Records(folders.work)
    for part in _PARTS:  # what a kill left half-written
        atomic.clean_temporaries(folders.work / part)
    records.write_manifest(grid.manifest())
    context = Context(study, folders, grid.placement, grid.sources, grid.targets, progress)
    on_context(context)
    missing = {cell.id for cell in grid.cells if not records.has(cell.id)}
    todo = [unit for unit in grid.units if any(cell.id in missing for cell in unit.cells)]
    if not todo:
        progress.line(f"all {len(grid.cells)} cells have records: nothing to run")
        return
    workers = study.execution.workers or default_workers(grid.placement.devices)
    bar, standing = f"cells of {study.name}", Standing(records)
    progress.start(bar, len(grid.cells), len(grid.cells) - len(missing))

    def work(unit: Unit) -> None:
        run_unit(unit, context)
        progress.line(standing.line(unit))
        progress.advance(bar, sum(cell.id in missing for cell in unit.cells))

    guarded = or_failed(work, context)
    run_jobs([functools.partial(guarded, unit) for unit in in_order(todo)], workers, context.stop)
    progress.line(f"{context.programs.count} programs compiled in {context.programs.compile_s:.1f} s")
