"""A horizontal chart: one interval for each row, under a heading for each budget, the number at the right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.canvas import (
    INK,
    LINE,
    RULE,
    WIDTH,
    Mark,
    Palette,
    canvas,
    headline,
    place_axes,
    shorten,
    svg_and_png,
    text_width,
)
from tlx.report.summary import Row

Drawer = Callable[[Axes, float, Interval, Mark], str]


@dataclass(frozen=True)
class Words:
    """What stands around a chart: in bold, in small print, along the axis."""

    title: str
    subtitle: str
    unit: str


def strips(
    rows: Sequence[tuple[Row, Interval]],
    marks: Palette,
    name: str,
    words: Words,
    draw: Drawer,
) -> tuple[str, bytes]:
    """Draw the chart.

    Args:
      rows: from top to bottom, those of one budget together, each with the interval to show.
      marks: of the whole study.
      name: file name without suffix.
      words: around the chart.
      draw: draws one interval at a height and returns the text beside it.

    Returns:
      The chart as SVG and as PNG.
    """
    budgets = list(dict.fromkeys(row.budget for row, _ in rows))
    headed = len(budgets) > 1
    blank = 1.5 * len(budgets) - 0.5 if headed else 0.0  # a heading, and half a line between the groups
    shown = max(len(rows) + blank, 2.0)
    with canvas(WIDTH, 1.2 + 1.2 * LINE * shown) as figure:
        names = [shorten(row.name) for row, _ in rows] + [wording.labels(budget) for budget in budgets]
        headline(figure, words.title, words.subtitle)
        axes = place_axes(figure, left=text_width(figure, names) + 0.25, right=0.62, bottom=0.55, top=0.62)
        height = 0.5
        for budget in budgets:
            if headed:
                _beside(axes, height, wording.labels(budget), "bold")
                height += 1
            for row, value in rows:
                if row.budget == budget:
                    _beside(axes, height, shorten(row.name), "normal")
                    _number(axes, height, draw(axes, height, value, marks[row.arm, row.entry]))
                    height += 1
            height += 0.5
        if draw is draw_bar:
            axes.axvline(0, color=INK, linewidth=1.0)
        _tidy(axes, shown, words.unit)
        if not rows:
            axes.clear()
            axes.set_axis_off()
            axes.annotate("no results yet", (0.5, 0.5), xycoords="axes fraction", ha="center", color=INK)
        return svg_and_png(figure, name)


def draw_bar(axes: Axes, height: float, value: Interval, mark: Mark) -> str:
    """A bar from zero with its interval, in percentage points; pale if the interval includes zero."""
    sure = value.above_zero or value.below_zero
    axes.barh(height, 100 * value.mean, height=0.68, color=mark.colour, alpha=1.0 if sure else 0.4)
    ends = [100 * value.low, 100 * value.high]
    axes.plot(ends, [height, height], color="white", linewidth=2.8, solid_capstyle="butt")
    axes.plot(ends, [height, height], color=INK, linewidth=1.3, solid_capstyle="butt")
    return wording.gain(value).split(" ")[0].replace("-", "\u2212")


def draw_dot(axes: Axes, height: float, value: Interval, mark: Mark) -> str:
    """A dot with its interval, in percent."""
    ends = [100 * value.low, 100 * value.high]
    axes.plot(ends, [height, height], color=mark.colour, linewidth=1.8, solid_capstyle="butt")
    axes.plot([100 * value.mean], [height], color=mark.colour, marker=mark.marker, markersize=5)
    return f"{100 * value.mean:.1f}"


def _tidy(axes: Axes, shown: float, unit: str) -> None:
    axes.set_ylim(shown, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.margins(x=0.06)
    low, high = axes.get_xlim()
    if high - low < 2:  # all the same: no scale that turns rounding into mountains
        axes.set_xlim((low + high) / 2 - 1, (low + high) / 2 + 1)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.set_xlabel(unit)


def _beside(axes: Axes, height: float, text: str, weight: str) -> None:
    style: dict[str, Any] = {
        "fontsize": 9.0,
        "fontweight": weight,
        "color": INK,
        "ha": "right",
        "va": "center",
    }
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(text, (0, height), xytext=(-7, 0), **where, **style)


def _number(axes: Axes, height: float, text: str) -> None:
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    style: dict[str, Any] = {"fontsize": 9.0, "color": INK, "ha": "right", "va": "center"}
    axes.annotate(text, (1, height), xytext=(36, 0), **where, **style)
