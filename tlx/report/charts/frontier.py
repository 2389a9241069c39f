"""What a gain costs, and which methods no other beats in both."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import chosen, colour, hundredth, said
from tlx.report.charts.numbers import numbers
from tlx.report.palette import Palette
from tlx.report.summary import Comparison, Row
from tlx.report.theme import INK, NEUTRAL

_PANEL = 300
_BUDGETS = 3  # panels in a row of each kind of cost; of more budgets the first, a middle one and the last
COSTS = {
    "trainable_params": "trained parameters",
    "step_flops": "FLOPs of a step",
    "optimizer_bytes": "bytes of optimizer state",
}


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other beats: none costs no more and gains no less, and differs.

    Args:
      points: cost and gain of each.

    Returns:
      Their positions, from the cheapest; of equal points, all.

    >>> frontier([(1.0, 5.0), (2.0, 4.0), (3.0, 9.0), (3.0, 8.0)])
    [0, 2]
    """
    best = [
        place
        for place, (cost, gain) in enumerate(points)
        if not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
    ]
    return sorted(best, key=lambda place: points[place])


def costs(made: Sequence[Comparison], marks: Palette, name: str = "frontier") -> Chart | None:
    """Mean gain against each kind of cost, scratch as a gain of zero, the frontier joined by a line.

    Args:
      made: all comparisons of a study; which is shown can be chosen.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None where no gain has a cost.
    """
    budgets = _few(sorted({row.budget for one in made for row in one.rows}))
    lines = [
        line
        for one in made
        for field, cost in COSTS.items()
        for budget in budgets
        for line in _lines(one, field, cost, budget)
    ]
    if not any(line["gain"] for line in lines):
        return None
    names = list(dict.fromkeys(line["method"] for line in lines))
    panels = [f"{wording.labels(budget)}: {cost}" for budget in budgets for cost in COSTS.values()]
    base = alt.Chart().encode(
        x=alt.X(
            "cost:Q",
            title=None,
            scale=alt.Scale(type="log", padding=8),
            axis=alt.Axis(format="~s", tickCount=4, grid=False),
        ),
        y=alt.Y("gain:Q", title="gain, points", scale=alt.Scale(padding=10), axis=alt.Axis(tickCount=5)),
    )
    whole = alt.layer(
        base.mark_rule(color=NEUTRAL, strokeDash=[3, 3]).encode(x=alt.value(0), x2=alt.value("width"), y=alt.datum(0)),
        base.transform_filter("datum.on_frontier === 'yes'").mark_line(color=NEUTRAL, interpolate="step-after"),
        base.mark_point(size=90, filled=True, opacity=1).encode(
            color=colour(marks, names),
            stroke=alt.condition("datum.on_frontier === 'yes'", alt.value(INK), alt.value("transparent")),
            strokeWidth=alt.value(1.8),
            tooltip=_tip(),
        ),
    ).properties(width=_PANEL - 75, height=170, data=alt.NamedData(name=name))
    whole = whole.facet(facet=alt.Facet("panel:N", sort=panels, title=None), columns=3).resolve_scale(x="independent")
    return finished(
        chosen(whole, "pair", "source → target", list(dict.fromkeys(one.title for one in made))),
        name=name,
        title="What a gain costs",
        note="Mean gain against cost (log scale), up and left is better. Ringed and joined: no other method gains "
        "as much for as little. Costs of zero or unknown are left out."
        + (
            f" Of the budgets, {wording.listing(map(str, budgets))} are shown."
            if len(budgets) < len({row.budget for one in made for row in one.rows})
            else ""
        ),
        alt="Gain over scratch against trained parameters, FLOPs of a step and bytes of optimizer state.",
        data={name: lines},
        panel=_PANEL,
    )


def _lines(one: Comparison, field: str, cost: str, budget: int) -> list[dict[str, Any]]:
    rows = [row for row in one.rows if row.budget == budget and (getattr(row, field) or 0) > 0 and row.score.n]
    rows = [row for row in rows if row.gain is None or row.gain.n]
    best = set(frontier([(getattr(row, field), _gain(row)) for row in rows]))
    return [
        {
            **_some(line),
            "pair": one.title,
            "panel": f"{line['labels']}: {cost}",
            "cost": round(getattr(row, field), 3),
            "said_cost": f"{wording.amount(getattr(row, field))} {cost}",
            "gain": hundredth(_gain(row)),
            "on_frontier": "yes" if place in best else "no",
        }
        for place, (row, line) in enumerate(zip(rows, numbers(rows), strict=True))
    ]


def _some(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line.get(name, "0, the baseline") for name in ("method", "labels", "said_gain")}


def _gain(row: Row) -> float:
    return 0.0 if row.gain is None else row.gain.mean


def _few(budgets: Sequence[int]) -> list[int]:
    if len(budgets) <= _BUDGETS:
        return list(budgets)
    return [budgets[0], budgets[len(budgets) // 2], budgets[-1]]


def _tip() -> list[alt.Tooltip]:
    return said(
        method="method", labels="budget", said_gain="gain, points", said_cost="cost", on_frontier="on the frontier"
    )
