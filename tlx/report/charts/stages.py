"""What changed inside the network, from its input to its output."""

import math
from collections.abc import Iterable
from typing import Any, Protocol

import altair as alt

from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import by_legend, chosen, colour, known, said, unless_dimmed
from tlx.report.palette import Palette

_PANEL = 330
_MEASURES = {
    "cka": "similarity to the start (CKA)",
    "drift": "drift of weights, share of their length",
    "distortion": "drift of features, share of their length",
}


class Stage(Protocol):
    """One stage of the cells of an entry, over seeds."""

    @property
    def source(self) -> str:
        """Where the weights come from."""

    @property
    def target(self) -> str:
        """Where to."""

    @property
    def entry(self) -> str:
        """The way of adapting."""

    @property
    def budget(self) -> int:
        """Target labels."""

    @property
    def stage(self) -> str:
        """Its name."""

    @property
    def depth(self) -> int:
        """Its place, input first."""

    @property
    def cka(self) -> Interval:
        """Between the start and the end."""

    @property
    def drift(self) -> Interval:
        """How far the weights moved."""

    @property
    def distortion(self) -> Interval:
        """How far the features moved."""


def stages(rows: Iterable[Stage], marks: Palette, name: str = "inside") -> Chart | None:
    """A panel for each measure, a line for each way of adapting, stages from left to right.

    Args:
      rows: of a study; which source, target and budget is shown can be chosen.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None without a number.
    """
    found = [(row, field, getattr(row, field)) for row in rows for field in _MEASURES]
    lines = [_line(row, field, value) for row, field, value in found if value.n and math.isfinite(value.mean)]
    if not lines:
        return None
    names = list(dict.fromkeys(line["method"] for line in lines))
    order = list(dict.fromkeys(line["stage"] for line in sorted(lines, key=lambda line: line["depth"])))
    places = list(dict.fromkeys(line["place"] for line in lines))
    base = alt.Chart().encode(
        x=alt.X("stage:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, grid=False)),
        y=alt.Y("mean:Q", title=None, axis=alt.Axis(tickCount=5)),
        color=colour(marks, names),
    )
    tip = said(method="method", stage="stage", said_mean="mean", said_ends="95 %", seeds="seeds")
    whole = alt.layer(
        *known(
            lines,
            "low",
            base.mark_rule().encode(y=alt.Y("low:Q", title=None), y2="high:Q", opacity=unless_dimmed(0.6, 0.05)),
        ),
        by_legend(base.mark_line(strokeWidth=2)).encode(opacity=unless_dimmed(1, 0.12)),
        base.mark_point(size=50, filled=True).encode(tooltip=tip, opacity=unless_dimmed(1, 0.12)),
    ).properties(width=_PANEL - 75, height=190, data=alt.NamedData(name=name))
    whole = whole.facet(facet=alt.Facet("measure:N", sort=list(_MEASURES.values()), title=None), columns=3)
    return finished(
        chosen(whole.resolve_scale(y="independent"), "place", "source → target", places),
        name=name,
        title="What changed inside",
        note="Stages from the input on the left to the output; mean over seeds with its 95 % interval."
        + (f" One of {len(places)} is shown; the rest are in the list." if len(places) > 1 else ""),
        alt=f"Similarity and drift of each stage for {wording.listing(names)}.",
        data={name: lines},
        panel=_PANEL,
    )


def _line(row: Stage, field: str, value: Interval) -> dict[str, Any]:
    ends = "" if value.kind == "none" else f"{value.low:.3f} to {value.high:.3f}"
    return {
        "place": f"{row.source} → {row.target}, {wording.labels(row.budget)}",
        "measure": _MEASURES[field],
        "method": row.entry,
        "stage": row.stage,
        "depth": row.depth,
        "mean": round(value.mean, 6),
        "low": None if value.kind == "none" else round(value.low, 6),
        "high": None if value.kind == "none" else round(value.high, 6),
        "said_mean": f"{value.mean:.3f}",
        "said_ends": ends or wording.UNKNOWN,
        "seeds": value.n,
    }
