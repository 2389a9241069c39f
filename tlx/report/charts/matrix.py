"""The transfer matrix: sources in rows, targets in columns, the gain in each cell."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.clustering import clustered
from tlx.report.charts.encoding import chosen, points, said
from tlx.report.charts.numbers import numbers
from tlx.report.summary import Row
from tlx.report.theme import BETTER, DARK_TEXT, EVEN, LIGHT_TEXT, NEUTRAL, WORSE

_WIDE, _TALL = 64, 34  # pixels of a cell
PANELS = 8  # small multiples at most
_HOW = (
    "Gain over paired scratch in percentage points; the interval is in the tooltip. "
    f"{wording.WORSE}: the interval lies below 0. In brackets: it includes 0, or there are too few seeds for one. "
    "Grey: no result. Sources and targets that behave alike are neighbours."
)


def matrix(rows: Sequence[Row], name: str = "matrix") -> Chart | None:
    """A heat map for one method and budget, at first that of the largest gain; the others can be chosen.

    What is missing is grey, a gain whose interval is below 0 is marked.

    Args:
      rows: of a whole study.
      name: file name without suffix.

    Returns:
      The chart; None with fewer than two pairs of a source and a target.
    """
    lines = _lines(rows)
    if not lines:
        return None
    panels = _best_first(lines)
    sources, targets = _orders(lines)
    whole = _panel(sources, targets, _most(lines)).properties(
        height=_TALL * len(sources), data=alt.NamedData(name=name)
    )
    return finished(
        chosen(whole, "panel", "method", panels),
        name=name,
        title="Transfer matrix" if len(panels) > 1 else f"Transfer matrix, {panels[0]}",
        note=_HOW,
        alt=f"Gain over scratch from each of {len(sources)} sources to each of {len(targets)} targets.",
        data={name: lines},
    )


def matrices(rows: Sequence[Row], name: str = "matrices") -> Chart | None:
    """The heat maps of all methods and budgets side by side, for a comparison at a glance.

    Args:
      rows: of a whole study.
      name: file name without suffix.

    Returns:
      The chart; None where there is a single heat map, or more than `PANELS`.
    """
    lines = _lines(rows)
    panels = list(dict.fromkeys(line["panel"] for line in lines))
    if not 1 < len(panels) <= PANELS:
        return None
    sources, targets = _orders(lines)
    whole = _panel(sources, targets, _most(lines)).properties(
        width=_WIDE * len(targets), height=_TALL * len(sources), data=alt.NamedData(name=name)
    )
    return finished(
        whole.facet(facet=alt.Facet("panel:N", sort=panels, title=None), columns=3),
        name=name,
        title="All methods and budgets",
        note=_HOW,
        alt=f"Gain over scratch from each source to each target for {wording.listing(panels)}.",
        data={name: lines},
        panel=_WIDE * len(targets) + 60,
        fixed=True,
    )


def _most(lines: Sequence[dict[str, Any]]) -> float:
    """The largest distance of a gain from zero, where the colours end."""
    return max(abs(line["gain"]) for line in lines if line["gain"] is not None) or 1.0


def _lines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    cells = [row for row in rows if row.arm == "transfer" and row.gain is not None]
    if len({(row.source, row.target) for row in cells}) < 2 or not any(row.gain and row.gain.n for row in cells):
        return []
    return [_line(row, line) for row, line in zip(cells, numbers(cells), strict=True)]


def _panel(sources: Sequence[str], targets: Sequence[str], most: float) -> Any:
    base = alt.Chart().encode(
        x=alt.X("target:N", sort=list(targets), title=None, axis=alt.Axis(labelAngle=-40, ticks=False, domain=False)),
        y=alt.Y("source:N", sort=list(sources), title=None, axis=alt.Axis(ticks=False, domain=False)),
        tooltip=said(
            source="source",
            target="target",
            method="method",
            labels="budget",
            said_gain="gain, points",
            seeds="seeds",
            verdict="verdict",
        ),
    )
    scale = alt.Scale(domain=[-most, 0, most], range=[WORSE, EVEN, BETTER], interpolate="lab")
    ground = alt.condition("isValid(datum.gain)", alt.Color("gain:Q", scale=scale, legend=None), alt.value(NEUTRAL))
    ink = alt.condition(f"datum.gain > {0.8 * most!r}", alt.value(LIGHT_TEXT), alt.value(DARK_TEXT))
    return alt.layer(
        base.mark_rect(stroke="white", strokeWidth=1.5).encode(color=ground),
        base.mark_text(fontSize=11.5).encode(text="shown:N", color=ink),
    )


def _line(row: Row, line: dict[str, Any]) -> dict[str, Any]:
    gain = row.gain
    shown = points(gain.mean) if gain is not None and gain.n else wording.UNKNOWN
    if gain is not None and gain.n and gain.below_zero:
        shown = f"{wording.WORSE} {shown}"
    elif gain is not None and gain.n and not gain.above_zero:
        shown = f"({shown})"
    return {**line, "panel": f"{row.name}, {line['labels']}", "shown": shown}


def _orders(lines: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Sources and targets, each by the gains of all panels side by side."""
    sources = list(dict.fromkeys(line["source"] for line in lines))
    targets = list(dict.fromkeys(line["target"] for line in lines))
    panels = list(dict.fromkeys(line["panel"] for line in lines))
    gain = {(line["source"], line["target"], line["panel"]): line["gain"] for line in lines}
    by_source = [[gain.get((s, t, p)) for t in targets for p in panels] for s in sources]
    by_target = [[gain.get((s, t, p)) for s in sources for p in panels] for t in targets]
    return [sources[place] for place in clustered(by_source)], [targets[place] for place in clustered(by_target)]


def _best_first(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Panels, the one with the largest gain first, the others in their order."""
    panels = list(dict.fromkeys(line["panel"] for line in lines))
    best = max((line for line in lines if line["gain"] is not None), key=lambda line: line["gain"])["panel"]
    return [best, *(panel for panel in panels if panel != best)]
