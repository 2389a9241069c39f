"""The gain of each method over paired scratch, with its interval."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import chosen, colour, known, said
from tlx.report.charts.numbers import numbers
from tlx.report.palette import Palette
from tlx.report.summary import Comparison
from tlx.report.theme import FAINT, INK

_STEP = 21  # pixels from one interval to the next
_PADDING = {"left": 5, "top": 5, "bottom": 5, "right": 46}  # a number may stand beyond the axis


def gains(made: Sequence[Comparison], marks: Palette, name: str = "gain") -> Chart | None:
    """A dot with its interval for each method and budget, hollow where the interval includes zero.

    Args:
      made: all comparisons of a study; which is shown can be chosen.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None without a gain.
    """
    found = [(one.title, row) for one in made for row in one.rows if row.gain is not None and row.gain.n]
    if not found:
        return None
    lines = [{"pair": pair, **line} for (pair, _), line in zip(found, numbers(row for _, row in found), strict=True)]
    names = list(dict.fromkeys(row.name for _, row in found))
    budgets = [wording.labels(budget) for budget in sorted({row.budget for _, row in found})]
    pairs = list(dict.fromkeys(pair for pair, _ in found))
    return finished(
        chosen(
            _drawn(names, budgets, marks, lines).properties(data=alt.NamedData(name=name)),
            "pair",
            "source → target",
            pairs,
        ),
        name=name,
        title="Gain over scratch" if len(pairs) > 1 else f"Gain over scratch, {pairs[0]}",
        note="Mean over seeds with its 95 % interval. Hollow: the interval includes 0, or there are too few seeds "
        "for one." + (f" One of {len(pairs)} pairs is shown; the rest are in the list." if len(pairs) > 1 else ""),
        alt=f"Gain over scratch of {wording.listing(names)} for {wording.listing(pairs)}.",
        data={name: lines},
    )


def _drawn(names: Sequence[str], budgets: Sequence[str], marks: Palette, lines: Sequence[dict[str, Any]]) -> Any:
    base = alt.Chart().encode(
        y=alt.Y("labels:N", sort=list(budgets), title=None, axis=alt.Axis(ticks=False, domain=False, labelColor=INK)),
        yOffset=alt.YOffset("method:N", sort=list(names)),
        color=colour(marks, names),
        tooltip=said(method="method", labels="budget", said_gain="gain, points", seeds="seeds", verdict="verdict"),
    )
    title = "gain over paired scratch, percentage points"
    unsure = "datum.verdict === 'not clear' || datum.verdict === 'too few seeds'"
    return alt.layer(
        alt.Chart().mark_rule(color=FAINT, strokeDash=[3, 3]).encode(x=alt.datum(0)),
        *known(lines, "low", base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title=title), x2="high:Q")),
        base.mark_point(size=85, opacity=1, filled=True).encode(x=alt.X("gain:Q", title=title)),
        base.mark_point(size=26, filled=True).encode(
            x="gain:Q", color=alt.value("white"), opacity=alt.condition(unsure, alt.value(1), alt.value(0))
        ),
        base.transform_calculate(end="isValid(datum.high) ? datum.high : datum.gain")
        .mark_text(align="left", dx=8)
        .encode(x="end:Q", text="short:N", color=alt.value(INK)),
    ).properties(height=len(budgets) * (_STEP * len(names) + _STEP), padding=_PADDING)
