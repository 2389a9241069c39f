"""The tables of one source and target: what came out, and what it cost."""

from tlx.report import wording
from tlx.report.summary import Comparison, Row
from tlx.report.table import Table


def outcomes(made: Comparison) -> Table:
    """Score and gain of each method, grouped by budget."""
    groups = []
    for budget in dict.fromkeys(row.budget for row in made.rows):
        rows = [row for row in made.rows if row.budget == budget]
        lines = tuple((row.name, wording.score(row.score), _gain(row), wording.seeds(row)) for row in rows)
        groups.append((wording.labels(budget), lines))
    head = f"{wording.capital(wording.metric(made.rows))}, %"
    return Table(("Method", head, "Gain, points", "Seeds"), tuple(groups))


def costs(made: Comparison) -> Table:
    """One line for each method; a cost that changes with the budget as its lowest and highest value."""
    head = (
        "Method",
        "Trained parameters",
        "Optimizer state",
        "FLOPs per step",
        "FLOPs once per example",
        "Time per cell",
    )
    lines = []
    for key in dict.fromkeys((row.arm, row.entry) for row in made.rows):
        rows = [row for row in made.rows if (row.arm, row.entry) == key]
        trained = wording.span((row.trainable_params for row in rows), wording.amount)
        share = wording.span((row.trainable_share for row in rows), wording.percent)
        line = (
            rows[0].name,
            trained if trained == wording.UNKNOWN else f"{trained} ({share})",
            wording.span((row.optimizer_bytes for row in rows), lambda size: wording.amount(size, "B")),
            wording.span((row.step_flops for row in rows), wording.amount),
            wording.span((row.cached_flops for row in rows), wording.amount),
            wording.span((row.wall_s for row in rows), wording.duration),
        )
        lines.append(line)
    return Table(head, (("", tuple(lines)),))


def _gain(row: Row) -> str:
    """The marked gain, with the number of pairs where it is not that of the seeds."""
    pairs = row.gain.n if row.gain is not None else row.seeds_done
    few = f" ({pairs} pairs)" if 0 < pairs < row.seeds_done else ""
    return wording.marked_gain(row) + few
