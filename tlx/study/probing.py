"""What a linear map can read from each stage, before a cell's first step and after its last."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tlx.measure.representation.probes import probe_layers
from tlx.records import Records
from tlx.study.beforehand import Ends, ends_of
from tlx.study.cells import Cell
from tlx.study.context import Context
from tlx.study.examples import subset_of
from tlx.study.inside import PROBES, Inside
from tlx.study.pairs import is_kept
from tlx.study.plan import Unit
from tlx.study.spec import SCORE, TRANSFER
from tlx.study.stages import measured_stages, pass_through


def inspect_probes(units: Sequence[Unit], records: Records, inside: Inside, context: Context) -> list[str]:
    """Probe every stage of the finished transfer cells of which something was kept.

    Args:
      units: of the study.
      records: of the study.
      inside: where to write.
      context: of the study.

    Returns:
      Ids of the cells that were probed now; targets that are scores have no classes to probe for.
    """
    found = []
    for unit in units:
        if unit.first.entry.arm != TRANSFER or unit.first.target.predict == SCORE:
            continue
        for cell in unit.cells:
            if is_kept(cell, records, context) and not inside.has(cell.id, PROBES):
                inside.publish({"id": cell.id, **_probed(unit, cell, context)}, PROBES)
                found.append(cell.id)
    return found


def _probed(unit: Unit, cell: Cell, context: Context) -> dict[str, Any]:
    data, name = context.targets[cell.target.name], f"{cell.id}, probed"
    data.test.selection_done(name)  # penalties are chosen on the validation split
    test, mine_N = data.test.release(name), subset_of(cell, context)
    splits = [data.train.at(mine_N), (data.validation.input_N, data.validation.label_N), (test.input_N, test.label_N)]
    ends = ends_of(unit, cell, context)
    features = [_features(ends, input_N, context) for input_N, _ in splits]
    labels = tuple(label_N for _, label_N in splits)
    stages: list[dict[str, Any]] = [{"stage": stage} for stage in measured_stages(ends.adapted)]
    for side, when in enumerate(("before", "after")):
        layers = {stage["stage"]: tuple(split[side][k] for split in features) for k, stage in enumerate(stages)}
        probes = probe_layers(layers, labels, cell.seed)  # type: ignore[arg-type]  # three of each
        for stage in stages:
            stage[when] = asdict(probes[stage["stage"]])
    return {"study": context.study.name, "cell": cell.key(), "examples": len(mine_N), "stages": stages}


def _features(ends: Ends, input_N: np.ndarray, context: Context) -> list[list[np.ndarray]]:
    """Of either end, for each stage, [examples, channels]."""
    passed = [*pass_through(ends.adapted, (ends.before, ends.after), input_N, context)]
    stages = range(len(measured_stages(ends.adapted)))
    return [[np.concatenate([batch[side].features[k] for batch in passed]) for k in stages] for side in (0, 1)]
