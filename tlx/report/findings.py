"""The sections of a study that other measures fill: labels' worth, speed, harm, significance, scatter, estimators,
what changed inside.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tlx.errors import TlxError
from tlx.report import (
    break_even,
    compute,
    improvements,
    inside,
    labels,
    negative,
    over_targets,
    predicted,
    scales,
    scatter,
    seeds_wanted,
    shares,
    significance,
    speed,
    trials,
)
from tlx.report.charts.prediction import prediction
from tlx.report.charts.stages import stages
from tlx.report.sections import Block, Material, Section, has_rows
from tlx.report.table import Table
from tlx.study.estimates import Estimates
from tlx.study.inside import Inside

_TABLE_ROWS = 60  # of a table here; all of them are in tables.csv


def _labels(given: Material) -> list[Block | None]:
    found = labels.worths(given.results.records)
    return _noted(labels.worth_table(found), labels.NOTE)


def _speed(given: Material) -> list[Block | None]:
    records = given.results.records
    sooner = _noted(speed.speed_table(speed.speeds(records)), speed.NOTE)
    paid = _noted(break_even.break_even_table(break_even.break_evens(records)), break_even.NOTE)
    spent = _noted(compute.compute_table(records), compute.compute_note(records))
    return [*sooner, *paid, *spent]


def _harm(given: Material) -> list[Block | None]:
    return _noted(negative.harm_table(negative.harm(given.results.records)), negative.NOTE)


def _scales(given: Material) -> list[Block | None]:
    records = given.results.records
    scaled = _noted(scales.scales_table(scales.scaled_gains(records)), scales.NOTE)
    return [*scaled, *_noted(shares.share_table(shares.shares(records)), shares.NOTE)]


def _significance(given: Material) -> list[Block | None]:
    there = given.places
    found = significance.significances(there)
    wanted = seeds_wanted.seeds_wanted(there)
    made = _noted(significance.significance_table(found), significance.significance_sentence, found)
    made += _noted(seeds_wanted.wanted_table(wanted), seeds_wanted.wanted_sentence, wanted)
    return [*made, significance.NOTE]


def _scatter(given: Material) -> list[Block | None]:
    there = given.places
    shared = _noted(scatter.shared_table(scatter.shared_scatter(there)), scatter.ONE_SEED)
    retrained = scatter.retrained_table(scatter.retrained_sources(given.results.records))
    return [*shared, *_noted(retrained, "")]


def _over_targets(given: Material) -> list[Block | None]:
    there = given.places
    made = _noted(over_targets.middle_table(over_targets.middles(there)), over_targets.IQM_NOTE)
    made += _noted(over_targets.rank_table(over_targets.ranked(there)), "")
    better = improvements.improvement_table(improvements.improvements(there))
    return [*made, *_noted(better, improvements.NOTE)]


def _tuning(given: Material) -> list[Block | None]:
    found = trials.tunings(given.results.records)
    return [*_noted(trials.tuning_table(found), trials.tuning_sentence, found), trials.NOTE]


def _estimators(given: Material) -> list[Block | None]:
    if given.results.folder is None:
        return []
    try:
        there = Estimates(given.results.folder).load_all()
    except TlxError as error:
        return [Table(("Estimates",), (("", ((str(error),),)),))]
    if not there:
        return []
    found = predicted.predicted(given.results.records, there)
    return [prediction(found, given.marks, f"{given.prefix}estimators"), *_noted(predicted.table(found), "")]


def _inside(given: Material) -> list[Block | None]:
    if given.results.folder is None:
        return []
    try:
        cells, pairs = Inside(given.results.folder).cells(), Inside(given.results.folder).pairs()
    except TlxError as error:
        return [Table(("What changed inside",), (("", ((str(error),),)),))]
    drawn = stages(inside.stage_rows(cells), given.marks, f"{given.prefix}inside")
    told = {
        "Similarity of each stage to its start (debiased CKA):": inside.cka_table(cells),
        "Drift of the weights, as a share of their length:": inside.drift_table(cells),
        "Drift of the features, as a share of their length:": inside.distortion_table(cells),
        "What was forgotten of the source:": inside.forgetting_table(cells),
        "Barriers between two seeds:": inside.barrier_table(pairs),
    }
    return [drawn, *(block for title, table in told.items() if has_rows(table) for block in (title, table))]


FINDINGS: tuple[Section, ...] = (
    Section("Worth in labels", _labels),
    Section("Speed and compute", _speed),
    Section("Harm", _harm),
    Section("Which gains stand", _significance),
    Section("Over all targets", _over_targets),
    Section("Scatter over seeds", _scatter),
    Section("Tuning", _tuning),
    Section("What predicted the gains", _estimators),
    Section("What changed inside", _inside),
    Section("Other scales", _scales),
)


def _noted(table: Table | None, note: str | Callable[[Any], str], of: Sequence[Any] = ()) -> list[Block | None]:
    """A table, cut to what a page can hold, and what explains it; nothing where it has no rows."""
    if table is None or not has_rows(table):
        return []
    kept, left = [], _TABLE_ROWS
    for heading, rows in table.groups:
        if left > 0:
            kept.append((heading, rows[:left]))
        left -= len(rows)
    more = f"{-left} more lines are left out here." if left < 0 else ""
    return [replace(table, groups=tuple(kept)), note if isinstance(note, str) else note(of), more]
