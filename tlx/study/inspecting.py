"""What changed inside the network, in every finished cell of which something was kept."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tlx.data.pipeline import Arrays
from tlx.losses import score_and_loss
from tlx.measure.representation.cka import cka_of
from tlx.measure.representation.distance import weight_distance
from tlx.measure.representation.distortion import Distortion
from tlx.measure.representation.moments import Moments
from tlx.models.registry import CLASSIFY
from tlx.progress import Progress
from tlx.records import Records
from tlx.study.beforehand import Ends, ends_of, plain_leaves, with_head
from tlx.study.cells import Cell, SourceData
from tlx.study.context import Context
from tlx.study.inside import Inside
from tlx.study.objective import trained_model
from tlx.study.pairs import inspect_pairs
from tlx.study.plan import Unit
from tlx.study.pretrain import source_model
from tlx.study.probing import inspect_probes
from tlx.study.run import lay_out
from tlx.study.spec import TRANSFER, Folders, Study
from tlx.study.stages import measured_stages, pass_through

OK = "ok"


@dataclass(frozen=True)
class Inspection:
    """What was done.

    Args:
      found: ids of what was inspected now: cells, pairs, and cells that were probed.
      there: how many had been before.
      unfinished: transfer cells without a record.
      diverged: transfer cells that diverged.
      not_kept: ids of finished transfer cells of which nothing was kept.
    """

    found: list[str] = field(default_factory=list)
    there: int = 0
    unfinished: int = 0
    diverged: int = 0
    not_kept: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For the terminal: what could not be inspected, and what to do."""
        said = []
        if self.not_kept:
            some = f"{len(self.not_kept)} finished cells"
            told = "run the study with --config.artifacts=True in a new --workdir"
            said.append(f"nothing was kept of {some if len(self.not_kept) > 1 else '1 finished cell'}: {told}")
        if self.unfinished:
            said.append(f"{self.unfinished} cells have no record yet: run the study, then inspect it again")
        if self.diverged:
            said.append(f"{self.diverged} cells diverged, and have nothing to compare")
        return said

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "found": self.found,
            "there": self.there,
            "unfinished": self.unfinished,
            "diverged": self.diverged,
            "not_kept": self.not_kept,
        }


def inspect(
    study: Study, folders: Folders, progress: Progress, pairs: bool = False, probes: bool = False
) -> Inspection:
    """Compare every finished cell of a transfer entry with where it began, as far as that is not done yet.

    Args:
      study: the spec, as it was run; with `config.artifacts`.
      folders: where.
      progress: what the user sees.
      pairs: whether to look for a barrier between two seeds of each entry, too.
      probes: whether to probe every stage, too.

    Returns:
      What was done; what was found is in `WORKDIR/inside`. A source whose checkpoint is gone is pre-trained again.

    Raises:
      ConfigError: the study cannot be laid out.
      CheckpointError: what was kept of a cell is damaged, or belongs to another source.
    """
    quiet = replace(study, execution=replace(study.execution, loggers=()))
    grid = lay_out(quiet, folders, progress)
    context = Context(quiet, folders, grid.placement, grid.sources, grid.targets, progress)
    records, inside = Records(folders.work), Inside(folders.work)
    done, todo = _sorted(grid.units, records, inside, context)
    name = f"cells of {study.name}"
    if todo:
        progress.start(name, done.there + len(todo), done.there)
    for unit, cell in todo:
        inside.publish(_inspected(unit, cell, records.get(cell.id), context))
        done.found.append(cell.id)
        progress.advance(name, 1)
    if pairs:
        done.found.extend(inspect_pairs(grid.units, records, inside, context))
    if probes:
        done.found.extend(inspect_probes(grid.units, records, inside, context))
    return done


def _sorted(
    units: list[Unit], records: Records, inside: Inside, context: Context
) -> tuple[Inspection, list[tuple[Unit, Cell]]]:
    """What is there of every transfer cell, and those that are left to do."""
    there = unfinished = diverged = 0
    not_kept: list[str] = []
    todo: list[tuple[Unit, Cell]] = []
    for unit, cell in _transfers(units):
        if not records.has(cell.id):
            unfinished += 1
        elif records.get(cell.id)["status"] != OK:
            diverged += 1
        elif inside.has(cell.id):
            there += 1
        elif not (context.folders.work / "artifacts" / cell.id).is_dir():
            not_kept.append(cell.id)
        else:
            todo.append((unit, cell))
    return Inspection([], there, unfinished, diverged, not_kept), todo


def _transfers(units: list[Unit]) -> Iterator[tuple[Unit, Cell]]:
    for unit in units:
        if unit.first.entry.arm == TRANSFER:
            yield from ((unit, cell) for cell in unit.cells)


def _inspected(unit: Unit, cell: Cell, record: dict[str, Any], context: Context) -> dict[str, Any]:
    """Everything that is told of a cell."""
    ends = ends_of(unit, cell, context)
    door = context.targets[cell.target.name].test
    door.selection_done(cell.id)  # it has a record
    test = door.release(cell.id)
    on_target = _compared(ends, test, context)
    forgetting, on_source = _forgetting(ends, cell, record, context)
    (before, _), (after, is_whole) = (plain_leaves(ends.adapted, side) for side in (ends.before, ends.after))
    by_stage = weight_distance(before, after)
    (overall,) = weight_distance(before, after, _trunk).values()
    stages = []
    for k, stage in enumerate(on_target.stages):
        drift = by_stage.get(stage)  # pooling alone has no weights
        stages.append(
            {
                "stage": stage,
                **on_target.of_stage(k),
                "drift": drift.relative if drift else None,
                "drift_l2": drift.l2 if drift else None,
                "source_distortion": on_source.distortions[k].mean if on_source else None,
                "source_relative_distortion": on_source.distortions[k].relative if on_source else None,
            }
        )
    return {
        "id": cell.id,
        "study": context.study.name,
        "cell": cell.key(),
        "target": {"split": test.split, "examples": len(test), "digest": test.digest},
        "test_score": on_target.score,
        "stages": stages,
        "drift": {"relative": overall.relative, "l2": overall.l2, "adapters_folded": is_whole},
        "forgetting": forgetting,
    }


def _trunk(path: str) -> str | None:
    return "trunk" if path.startswith("params/") and not path.startswith("params/head/") else None


@dataclass(frozen=True)
class _Compared:
    """Both ends of a cell on the same examples.

    Args:
      stages: all but the head.
      sums: of each stage.
      distortions: likewise.
      score: of the end, as for records.
    """

    stages: tuple[str, ...]
    sums: list[Moments]
    distortions: list[Distortion]
    score: float

    def of_stage(self, k: int) -> dict[str, Any]:
        """What a stage's features are to one another."""
        return {
            "cka": cka_of(self.sums[k]),
            "distortion": self.distortions[k].mean,
            "relative_distortion": self.distortions[k].relative,
        }


def _compared(ends: Ends, arrays: Arrays, context: Context) -> _Compared:
    # Sums are kept, features are not: what it takes does not grow with the number of examples.
    stages = measured_stages(ends.adapted)
    sums, distortions = [Moments() for _ in stages], [Distortion() for _ in stages]
    logits = []
    for before, after in pass_through(ends.adapted, (ends.before, ends.after), arrays.input_N, context):
        for k in range(len(stages)):
            sums[k].add(before.features[k], after.features[k])
            distortions[k].add(before.features[k], after.features[k])
        logits.append(after.logits_BC)
    score, _ = score_and_loss(np.concatenate(logits), arrays.label_N)
    return _Compared(stages, sums, distortions, score)


def _forgetting(
    ends: Ends, cell: Cell, record: dict[str, Any], context: Context
) -> tuple[dict[str, Any], _Compared | None]:
    """The source's test score with its own head, before and after; and both ends on its test examples."""
    assert cell.source is not None  # a transfer cell
    data = context.sources[cell.source.name]
    if not isinstance(data, SourceData):
        return {"unknown": "the source is a checkpoint, whose test examples are not here"}, None
    if cell.source.objective != CLASSIFY:
        return {"unknown": f"the source's head was for {cell.source.objective!r}, and was not kept"}, None
    model = trained_model(context.study, cell.source, data)
    head = source_model(cell.source, context).variables["params"].get("head", {})
    other = with_head(ends, replace(ends.adapted, model=model), head)
    if isinstance(other, str):
        return {"unknown": other}, None
    found = _compared(other, data.test, context)
    before = record["lineage"]["source_test_accuracy"]
    told = {"before": before, "after": found.score, "drop": before - found.score, "examples": len(data.test)}
    return told, found
