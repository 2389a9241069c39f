"""What charts have in common: colours of entries, tooltips, and a list to choose from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from tlx.report.palette import Mark, Palette


def points(share: float | None, sign: str = "+") -> str:
    """A share in percentage points as charts show it, e.g. `+29.1`."""
    return "–" if share is None else f"{round(100 * share, 1) + 0.0:{sign}.1f}".replace("-", "\N{MINUS SIGN}")


def hundredth(share: float) -> float | None:
    """A share in percent, to 4 digits after the point; None for what is not a number."""
    return None if share != share else round(100 * share, 4)


def colour(marks: Palette, names: Iterable[str], field: str = "method", **rest: Any) -> alt.Color:
    """Colours of entries, with a legend of those that occur; `rest` goes to Altair."""
    shown = _of(marks, names)
    scale = alt.Scale(domain=[mark.name for mark in shown], range=[mark.colour for mark in shown])
    return alt.Color(f"{field}:N", scale=scale, sort=None, **rest)


def dash(marks: Palette, names: Iterable[str], field: str = "method") -> alt.StrokeDash:
    """Dashes of entries' lines, told in the legend of their colours."""
    shown = _of(marks, names)
    scale = alt.Scale(domain=[mark.name for mark in shown], range=[list(mark.dash) or [1, 0] for mark in shown])
    return alt.StrokeDash(f"{field}:N", scale=scale, sort=None)


def said(**titles: str) -> list[alt.Tooltip]:
    """A tooltip of fields, each with its title; what is a number is written out in the data."""
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def chosen(chart: Any, field: str, title: str, options: Sequence[str]) -> Any:
    """The chart of those rows whose field has the value that is chosen in a list, at first the first one.

    Args:
      chart: of Altair.
      field: of the rows.
      title: before the list.
      options: values; with a single one, there is nothing to choose and the chart stays as it is.
    """
    if len(options) < 2:
        return chart
    name = f"chosen_{field}"
    choice = alt.param(name=name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{title} "))
    return chart.add_params(choice).transform_filter(f"datum.{field} === {name}")


def known(lines: Iterable[Mapping[str, Any]], field: str, *layers: Any) -> list[Any]:
    """The layers, if a line has a number in a field: Vega complains of an axis without one."""
    return list(layers) if any(line.get(field) is not None for line in lines) else []


def by_legend(chart: Any, field: str = "method") -> Any:
    """The chart, in which a click on the legend leaves one entry standing out."""
    return chart.add_params(alt.selection_point(name="legend", fields=[field], bind="legend"))


def unless_dimmed(strong: float, faint: float) -> Any:
    """An opacity that a click on the legend takes from the other entries."""
    return alt.condition(alt.selection_point(name="legend"), alt.value(strong), alt.value(faint))


def _of(marks: Palette, names: Iterable[str]) -> list[Mark]:
    there = set(names)
    return [mark for mark in marks.values() if mark.name in there]
