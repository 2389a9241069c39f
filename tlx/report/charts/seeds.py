"""Every seed as a point, joined to the same seed of the other methods."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from tlx.measure.pairing import Record
from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import chosen, colour, hundredth, points, said
from tlx.report.palette import Palette
from tlx.report.summary import Comparison
from tlx.report.theme import NEUTRAL

MOST = 3000  # points of a page; of more seeds, the first are shown
_PANEL = 300


def seeds(
    made: Sequence[Comparison],
    records: Sequence[Record],
    gains: Mapping[str, float | None],
    marks: Palette,
    name: str = "seeds",
) -> Chart | None:
    """Test scores of single seeds, a panel for each budget.

    Args:
      made: all comparisons of a study.
      records: of the study.
      gains: by cell id, over the paired scratch cell.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None without a result.
    """
    wanted = _found(made, records)
    if not wanted:
        return None
    numbers = sorted({record["cell"]["seed"] for *_, record in wanted})
    keep = numbers[: max(1, MOST * len(numbers) // len(wanted))]
    lines = [_line(*item, gains) for item in wanted if item[2]["cell"]["seed"] in keep][:MOST]
    names = list(dict.fromkeys(line["method"] for line in lines))
    pairs = list(dict.fromkeys(line["pair"] for line in lines))
    what = wording.metric(row for one in made for row in one.rows)
    base = alt.Chart().encode(
        x=alt.X("method:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40, grid=False)),
        y=alt.Y("score:Q", title=f"test {what}, %", scale=alt.Scale(zero=False)),
    )
    whole = alt.layer(
        base.mark_line(color=NEUTRAL, strokeWidth=1).encode(detail="seed:N", order="place:Q"),
        base.mark_point(size=55, filled=True, opacity=0.9).encode(
            color=colour(marks, names),
            tooltip=said(
                method="method",
                labels="budget",
                seed="seed",
                said_score=f"test {what}, %",
                said_gain="gain, points",
                record="record",
            ),
        ),
    ).properties(width=_PANEL - 70, height=210, data=alt.NamedData(name=name))
    whole = whole.facet(facet=alt.Facet("labels:N", sort=_budgets(lines), title=None), columns=3).resolve_scale(
        x="independent"
    )
    return finished(
        chosen(whole, "pair", "source → target", pairs),
        name=name,
        title="Seeds",
        note=_note(len(lines), len(wanted)),
        alt=f"Test {what} of every seed for {wording.listing(names)}.",
        data={name: _placed(lines, names)},
        panel=_PANEL,
    )


def _found(made: Sequence[Comparison], records: Sequence[Record]) -> list[tuple[str, str, Record]]:
    """The records with a result, each with its comparison and method; a random start stands in several."""
    by_row: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        if record["status"] == "ok":
            cell = record["cell"]
            by_row.setdefault((cell["source"], cell["target"], cell["entry"], cell["arm"], cell["budget"]), []).append(
                record
            )
    return [
        (one.title, row.name, record)
        for one in made
        for row in one.rows
        for record in by_row.get((row.source, row.target, row.entry, row.arm, row.budget), ())
    ]


def _note(shown: int, there: int) -> str:
    note = "Each point is one seed; a line joins the same seed, so the same labels, in the other methods."
    return note + (f" {shown} of {there} points are shown, those of the first seeds." if shown < there else "")


def _line(pair: str, method: str, record: Record, gains: Mapping[str, float | None]) -> dict[str, Any]:
    cell = record["cell"]
    score = record["result"]["test_score"]
    return {
        "pair": pair,
        "method": method,
        "labels": wording.labels(cell["budget"]),
        "budget": cell["budget"],
        "seed": cell["seed"],
        "score": hundredth(score),
        "said_score": points(score, ""),
        "said_gain": points(gains.get(record["id"])),
        "record": record["id"],
    }


def _budgets(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [wording.labels(budget) for budget in sorted({line["budget"] for line in lines})]


def _placed(lines: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    place = {name: number for number, name in enumerate(names)}
    return [{**line, "place": place[line["method"]]} for line in lines]
