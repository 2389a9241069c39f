"""Test score against the number of labels."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import by_legend, chosen, colour, dash, known, said, unless_dimmed
from tlx.report.charts.numbers import numbers
from tlx.report.palette import Palette
from tlx.report.summary import Comparison


def label_curves(made: Sequence[Comparison], marks: Palette, name: str = "accuracy") -> Chart | None:
    """One line for each method with its interval; with a single budget, dots.

    Args:
      made: all comparisons of a study; which is shown can be chosen.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None without a result.
    """
    found = [(one.title, row) for one in made for row in one.rows if row.score.n]
    if not found:
        return None
    lines = [{"pair": pair, **line} for (pair, _), line in zip(found, numbers(row for _, row in found), strict=True)]
    names = list(dict.fromkeys(row.name for _, row in found))
    budgets = sorted({row.budget for _, row in found})
    what = wording.metric(row for _, row in found)
    pairs = list(dict.fromkeys(pair for pair, _ in found))
    whole = _curves(lines, budgets, what, marks) if len(budgets) > 1 else _dots(lines, what, marks)
    whole = whole.properties(data=alt.NamedData(name=name))
    whole = chosen(whole, "pair", "source → target", pairs)
    return finished(
        whole,
        name=name,
        title=f"Test {what} against labels" if len(budgets) > 1 else f"Test {what}, {wording.labels(budgets[0])}",
        note="Mean over seeds with its 95 % interval."
        + (" A click on the legend makes one method stand out." if len(budgets) > 1 else "")
        + (f" Of {len(pairs)} pairs, one is shown; the rest are in the list." if len(pairs) > 1 else ""),
        alt=f"Test {what} against labels for {wording.listing(names)}.",
        data={name: lines},
    )


def _curves(lines: Sequence[dict[str, Any]], budgets: Sequence[int], what: str, marks: Palette) -> Any:
    names = [line["method"] for line in lines]
    scale = alt.Scale(type="log", nice=False, padding=14)
    axis = alt.Axis(values=list(budgets), grid=False, format="d", labelOverlap=True)
    base = alt.Chart().encode(
        x=alt.X("budget:Q", scale=scale, axis=axis, title="labels (log scale)"),
        color=colour(marks, names, legend=alt.Legend(symbolType="stroke", symbolSize=260)),
    )
    y = alt.Y("score:Q", title=f"test {what}, %", scale=alt.Scale(zero=False))
    return alt.layer(
        *known(
            lines,
            "score_low",
            base.mark_area(opacity=0.12).encode(y=alt.Y("score_low:Q", title=None), y2="score_high:Q"),
        ),
        by_legend(base.mark_line(strokeWidth=2)).encode(
            y=y, strokeDash=dash(marks, names), opacity=unless_dimmed(1, 0.15)
        ),
        base.mark_point(size=60, filled=True).encode(y=y, tooltip=_tip(what), opacity=unless_dimmed(1, 0.15)),
    ).properties(height=330)


def _dots(lines: Sequence[dict[str, Any]], what: str, marks: Palette) -> Any:
    names = list(dict.fromkeys(line["method"] for line in lines))
    base = alt.Chart().encode(
        y=alt.Y("method:N", sort=list(names), title=None),
        color=colour(marks, names, legend=None),
        tooltip=_tip(what),
    )
    axis = alt.X("score:Q", title=f"test {what}, %", scale=alt.Scale(zero=False))
    return alt.layer(
        *known(
            lines,
            "score_low",
            base.mark_rule(strokeWidth=2.5).encode(x=alt.X("score_low:Q", title=None), x2="score_high:Q"),
        ),
        base.mark_point(size=75, filled=True, opacity=1).encode(x=axis),
    ).properties(height=26 * len(names))


def _tip(what: str) -> list[alt.Tooltip]:
    return said(method="method", labels="budget", said_score=f"test {what}, %", said_gain="gain", seeds="seeds")
