"""The two pictures of a comparison: accuracy against labels, and the gain of each method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.canvas import (
    INK,
    LINE,
    RULE,
    WIDTH,
    Mark,
    Palette,
    Picture,
    canvas,
    headline,
    palette,
    place_axes,
    shorten,
    svg_and_png,
    text_width,
)
from tlx.report.strips import Words, draw_bar, draw_dot, strips
from tlx.report.summary import Comparison, Row

_Series = tuple[str, str]


def label_curves(made: Comparison, marks: Palette | None = None, name: str = "accuracy") -> Picture:
    """Test score against the number of labels, one line for each arm and method with its interval.

    With a single budget there is no curve: it shows one interval for each method instead.

    Args:
      made: the rows of one source and target.
      marks: of the whole study; by default those of this comparison.
      name: file name without suffix.
    """
    rows = [(row, row.score) for row in made.rows if row.score.n]
    marks = marks or palette(made.rows)
    what = wording.metric(made.rows)
    title = f"{wording.capital(what)} on {shorten(made.target)}"
    small = _subtitle(made, rows)
    alt = f"Test {what} on {made.target} against labels for {_said(rows)}."
    if len({row.budget for row, _ in rows}) > 1:
        return Picture(name, alt, *_curves([row for row, _ in rows], marks, name, title, small))
    title += f" with {wording.labels(rows[0][0].budget)}" if rows else ""
    return Picture(name, alt, *strips(rows, marks, name, Words(title, small, f"test {what} (%)"), draw_dot))


def gain_bars(made: Comparison, marks: Palette | None = None, name: str = "gain") -> Picture:
    """The gain of each method over paired scratch, grouped by budget; pale where the interval includes zero.

    Args:
      made: the rows of one source and target.
      marks: of the whole study; by default those of this comparison.
      name: file name without suffix.
    """
    rows = [(row, row.gain) for row in made.rows if row.gain is not None and row.gain.n]
    marks = marks or palette(made.rows)
    budgets = {row.budget for row, _ in rows}
    title = f"Gain over scratch on {shorten(made.target)}"
    title += f" with {wording.labels(budgets.pop())}" if len(budgets) == 1 else ""
    unsure = any(not (value.above_zero or value.below_zero) for _, value in rows if value.kind != "none")
    small = _subtitle(made, rows) + ("; pale: interval includes 0" if unsure else "")
    alt = f"Gain over scratch on {made.target} for {_said(rows)}."
    unit = "gain over paired scratch (percentage points)"
    return Picture(name, alt, *strips(rows, marks, name, Words(title, small, unit), draw_bar))


def _curves(rows: Sequence[Row], marks: Palette, name: str, title: str, small: str) -> tuple[str, bytes]:
    series: dict[_Series, list[Row]] = {}
    for row in rows:
        series.setdefault((row.arm, row.entry), []).append(row)
    names = {key: shorten(found[0].name) for key, found in series.items()}
    with canvas(WIDTH, max(3.8, 1.3 + LINE * len(names))) as figure:
        right = text_width(figure, names.values()) + 0.55
        headline(figure, title, small)
        axes = place_axes(figure, left=0.62, right=right, bottom=0.55, top=0.62)
        for key, found in series.items():
            _curve(axes, found, marks[key])
        _scale(axes, sorted({row.budget for row in rows}))
        axes.set_ylabel(f"test {wording.metric(rows)} (%)")
        ends = {key: (found[-1].budget, 100 * found[-1].score.mean) for key, found in series.items()}
        _name_curves(figure, axes, ends, names, marks)
        return svg_and_png(figure, name)


def _curve(axes: Axes, rows: Sequence[Row], mark: Mark) -> None:
    ends = np.array([(row.score.low, row.score.high) for row in rows])
    low, high = np.clip(100 * ends, 0, 100).T
    x, y = [row.budget for row in rows], [100 * row.score.mean for row in rows]
    axes.fill_between(x, low, high, color=mark.colour, alpha=0.13, linewidth=0)
    axes.plot(x, y, color=mark.colour, marker=mark.marker, markersize=4.5, linewidth=1.6, linestyle=mark.dash)


def _scale(axes: Axes, budgets: Sequence[int]) -> None:
    """A log axis with the budgets themselves as ticks, as many as there is room for."""
    axes.set_xscale("log")
    room = 0.1 * np.log(budgets[-1] / budgets[0])
    shown = [budgets[0]]
    for budget in budgets[1:]:
        if np.log(budget / shown[-1]) >= room:
            shown.append(budget)
    axes.set_xticks(shown, [str(budget) for budget in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("labels (log scale)")
    axes.grid(axis="y", color=RULE, linewidth=0.6)


def _name_curves(
    figure: Figure,
    axes: Axes,
    ends: Mapping[_Series, tuple[float, float]],
    names: Mapping[_Series, str],
    marks: Palette,
) -> None:
    """Each curve's name and marker beside its end, moved apart where they would overlap."""
    box = axes.get_position()
    wide, tall = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
    to_axes = axes.transData + axes.transAxes.inverted()
    tips = {key: to_axes.transform(end) for key, end in ends.items()}
    order = sorted(ends, key=lambda key: float(tips[key][1]))
    heights = _apart([float(tips[key][1]) * tall for key in order], LINE, tall)
    for key, height in zip(order, heights, strict=True):
        across, up = tips[key]
        colour = marks[key].colour
        style: dict[str, Any] = {"transform": axes.transAxes, "color": colour, "clip_on": False}
        lead = [across + 0.08 / wide, 1 + 0.22 / wide]
        axes.plot(lead, [up, height / tall], linewidth=0.7, alpha=0.7, **style)
        axes.plot([1 + 0.27 / wide], [height / tall], marker=marks[key].marker, markersize=4.5, **style)
        where: dict[str, Any] = {
            "transform": axes.transAxes,
            "va": "center_baseline",
            "fontsize": 9.0,
            "color": INK,
        }
        axes.text(1 + 0.35 / wide, height / tall, names[key], **where)


def _apart(wanted: Sequence[float], gap: float, tall: float) -> list[float]:
    """Rising positions from 0 to `tall`, at least `gap` apart, near the wanted ones."""
    places = list(wanted)
    for _ in range(200):
        for low in range(len(places) - 1):
            lack = max(gap - (places[low + 1] - places[low]), 0.0)
            places[low] -= lack / 2
            places[low + 1] += lack / 2
        places = [min(max(place, 0.0), tall) for place in places]
    return places


def _subtitle(made: Comparison, rows: Sequence[tuple[Row, Interval]]) -> str:
    start = f"from {shorten(made.source)}; " if made.source is not None else ""
    if any(value.kind != "none" for _, value in rows):
        return f"{start}mean over seeds with 95 % interval"
    return f"{start}mean over seeds, too few for an interval" if rows else start.removesuffix("; ")


def _said(rows: Sequence[tuple[Row, Interval]]) -> str:
    names = dict.fromkeys(row.name for row, _ in rows)
    return wording.listing(names) if names else "no method yet"
