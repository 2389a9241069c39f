"""A study from config to records."""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx import atomic, lock, shared
from tlx.data import source
from tlx.loggers.registry import check_loggers
from tlx.progress import Progress
from tlx.records import Records
from tlx.runners.local import default_workers, run_jobs
from tlx.sharding import Placement, make_placement
from tlx.study.cells import Cell, Released, SourceData, TargetData, expand
from tlx.study.check import blamed_on, check_devices, check_overlap, check_study
from tlx.study.context import Context
from tlx.study.estimates import places
from tlx.study.estimating import estimate
from tlx.study.failing import or_failed
from tlx.study.loading import Loader
from tlx.study.once import run_once
from tlx.study.plan import Unit, make_units
from tlx.study.shares import Shard, Share, plan_digest, share_of, units_of
from tlx.study.spec import Folders, Source, Study
from tlx.study.standing import Standing
from tlx.study.text import tokenizer_of
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

    def recorded(self, work: Path) -> int:
        """How many of its cells have records, whoever published them.

        Args:
          work: folder of the study.
        """
        return sum(Records(work).has(cell.id) for cell in self.cells)

    def failed(self, work: Path, shard: Shard) -> bool:
        """Whether a cell of a share has failed, and has no record since.

        Args:
          work: folder of the study.
          shard: which share.
        """
        failures = Records(work).failures()
        return any(cell.id in failures for unit in share_of(self.units, shard).units for cell in unit.cells)

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
    check_loggers(study.execution.loggers)
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


def in_order(units: Sequence[Unit], sources: Collection[Source] | None = None) -> list[Unit]:
    """The order in which units are begun, so that no worker waits for another.

    Args:
      units: any.
      sources: those that are pre-trained here; None for all.

    Returns:
      For each of the sources one unit that will pre-train it, then what needs no source, then the rest, what waits
      for other processes last; longest first.
    """
    longest = sorted(units, key=lambda unit: -unit.steps * (unit.strategy == "loop"))
    here = [unit for unit in longest if sources is None or unit.first.source in sources]
    first = list({unit.first.source: unit for unit in reversed(here) if unit.first.source}.values())
    without = [unit for unit in longest if unit.first.source is None]
    rest = [unit for unit in longest if unit not in first and unit not in without]
    return [*first, *without, *sorted(rest, key=lambda unit: unit not in here)]


def run(
    study: Study,
    folders: Folders,
    progress: Progress,
    on_context: Callable[[Context], None],
    shard: Shard | None = None,
    only: str = "",
) -> Grid:
    """Run what has no record yet.

    Args:
      study: the spec.
      folders: where.
      progress: what the user sees.
      on_context: given the context before any work, so that the caller can stop it.
      shard: which share of the units, or None for all.
      only: id of a cell, or the beginning of it: just this one is run, with those its learning rate is chosen with.

    Returns:
      The grid; every cell of it, or of the share, has a record, or a note why it failed.

    Raises:
      ConfigError: something in it cannot be run.
      FileError: another process is at work in the folder.
      Stopped: it was asked to stop; what was done is saved.
    """
    grid = lay_out(study, folders, progress)
    if shard is None:
        units = units_of(grid.units, only) if only else tuple(grid.units)
        with lock.exclusive(folders.work):
            _run(grid, Share(units, frozenset(study.sources)), folders, progress, on_context)
    else:
        with lock.shard(folders.work, shard.index, shard.count, plan_digest(grid.units)):
            _run(grid, share_of(grid.units, shard), folders, progress, on_context, f", shard {shard}")
    return grid


def _share(grid: Grid, folders: Folders) -> None:
    """Bring the copy of a bucket's folder up to date, and the folder, where an earlier run was cut off before it."""
    shared.pull(folders.shared, folders.work)
    shared.push(folders.shared, folders.work, [cell.id for cell in grid.cells])
    shared.push_files(folders.shared, folders.work, [shared.MANIFEST])


def _run(
    grid: Grid,
    share: Share,
    folders: Folders,
    progress: Progress,
    on_context: Callable[[Context], None],
    whose: str = "",
) -> None:
    study, records = grid.study, Records(folders.work)
    for part in _PARTS:  # what a kill left half-written
        atomic.clean_temporaries(folders.work / part)
    records.write_manifest(grid.manifest())
    if folders.shared:
        _share(grid, folders)
    context = Context(study, folders, grid.placement, grid.sources, grid.targets, progress)
    on_context(context)
    cells = [cell for unit in share.units for cell in unit.cells]
    missing = {cell.id for cell in cells if not records.has(cell.id)}
    todo = [unit for unit in share.units if any(cell.id in missing for cell in unit.cells)]
    if not todo:
        progress.line(f"all {len(cells)} cells{f' of{whose[1:]}' if whose else ''} have records: nothing to run")
        estimate(places(grid.units, share.units), context)
        return
    workers = study.execution.workers or default_workers(grid.placement.devices)
    bar, standing = f"cells of {study.name}{whose}", Standing(records)
    progress.start(bar, len(cells), len(cells) - len(missing))

    def work(unit: Unit) -> None:
        run_once(unit, context)
        progress.line(standing.line(unit))
        progress.advance(bar, sum(cell.id in missing for cell in unit.cells))

    guarded = or_failed(work, context)
    jobs = [functools.partial(guarded, unit) for unit in in_order(todo, share.sources)]
    run_jobs(jobs, workers, context.stop)
    progress.line(f"{context.programs.count} programs compiled in {context.programs.compile_s:.1f} s")
    estimate(places(grid.units, share.units), context)
