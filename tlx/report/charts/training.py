"""The training loss of single cells, step by step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import altair as alt

from tlx import stream
from tlx.errors import TlxError
from tlx.measure.pairing import Record
from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import by_legend, colour, said, unless_dimmed
from tlx.report.palette import Palette
from tlx.report.summary import Comparison, Row

CELLS, STEPS = 60, 25  # of a page, at most
_PANEL = 300


def training(
    made: Sequence[Comparison], records: Sequence[Record], folder: Path | None, marks: Palette, name: str = "training"
) -> Chart | None:
    """The loss of the learning rate that was chosen, thinned; a panel for each budget.

    Args:
      made: all comparisons of a study.
      records: of the study.
      folder: the work folder whose metrics are read; without them, the curve in the record is shown.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None where no cell has a curve.
    """
    rows = {_key(row): row for one in made for row in one.rows}
    there = [(record, rows[key]) for record in records if (key := _cell_key(record)) in rows]
    # One seed of every row first, then the second, as far as there is room.
    there.sort(key=lambda item: item[0]["cell"]["seed"])
    curves = [(item, curve) for item in there[: 2 * CELLS] if len(curve := _curve(item[0], folder)) > 1][:CELLS]
    lines = [_line(record, row, *point) for (record, row), curve in curves for point in _thinned(curve)]
    if not lines:
        return None
    names = list(dict.fromkeys(line["method"] for line in lines))
    kind: Literal["log", "linear"] = "log" if all(line["loss"] > 0 for line in lines) else "linear"
    base = alt.Chart().encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5, grid=False)),
        y=alt.Y(
            "loss:Q",
            title="training loss",
            scale=alt.Scale(type=kind, nice=False),
            axis=alt.Axis(tickCount=5, grid=kind == "linear"),
        ),
        color=colour(marks, [mark for mark in marks if mark in names]),
        detail="record:N",
        tooltip=said(
            method="method", place="where", labels="budget", seed="seed", step="step", loss="loss", record="record"
        ),
    )
    whole = by_legend(base.mark_line(strokeWidth=1.6)).encode(opacity=unless_dimmed(0.75, 0.06))
    whole = whole.properties(width=_PANEL - 75, height=210, data=alt.NamedData(name=name))
    order = [wording.labels(budget) for budget in sorted({row.budget for _, row in there})]
    whole = whole.facet(facet=alt.Facet("labels:N", sort=order, title=None), columns=3)
    left = len(there) - len(curves)
    return finished(
        whole,
        name=name,
        title="Training",
        note="Training loss at the learning rate that was chosen, one line for each cell."
        + (f" {len(curves)} of {len(there)} cells are shown; the first seeds come first." if left else ""),
        alt=f"Training loss against steps for {wording.listing(names)}.",
        data={name: lines},
        panel=_PANEL,
    )


def _curve(record: Record, folder: Path | None) -> list[tuple[int, float]]:
    rate = record["selected"].get("lr")
    rows: list[dict[str, Any]] = []
    if folder is not None and rate is not None:
        try:
            rows = [row for row in stream.load(folder, record["id"]) if row.get("peak_lr") == rate]
        except TlxError:
            rows = []  # a damaged or missing stream takes a picture, never a report
    found = [(row["step"], row["train_loss"]) for row in rows if row.get("train_loss") is not None]
    kept = record.get("curve") or {}
    return found or [
        (step, loss)
        for step, loss in zip(kept.get("step", ()), kept.get("train_loss", ()), strict=False)
        if loss is not None
    ]


def _thinned(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `STEPS` of the points, the first and the last among them."""
    if len(curve) <= STEPS:
        return list(curve)
    return [curve[round(place * (len(curve) - 1) / (STEPS - 1))] for place in range(STEPS)]


def _line(record: Record, row: Row, step: int, loss: float) -> dict[str, Any]:
    start = f"{row.source} → {row.target}" if row.source is not None else row.target
    return {
        "method": row.name,
        "place": start,
        "labels": wording.labels(row.budget),
        "seed": record["cell"]["seed"],
        "record": record["id"],
        "step": step,
        "loss": float(f"{loss:.4g}"),
    }


def _key(row: Row) -> tuple[Any, ...]:
    return row.source, row.target, row.entry, row.arm, row.budget


def _cell_key(record: Record) -> tuple[Any, ...]:
    cell = record["cell"]
    return cell["source"], cell["target"], cell["entry"], cell["arm"], cell["budget"]
