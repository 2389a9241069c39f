"""The charts of a report as files: for Markdown, and for papers."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.report.chart import Chart, pdf, png, svg

_CHOICE = "chosen_"  # begins the name of a parameter whose values are in a list


def write_png(charts: Iterable[Chart], drawings: dict[str, str], folder: Path) -> list[Path]:
    """Write charts as `NAME.png`, drawing those that are not drawn yet.

    Args:
      charts: any.
      drawings: SVG by name of chart; it is added to.
      folder: made if it is missing.

    Returns:
      The files.
    """
    paths = []
    for chart in charts:
        if chart.name not in drawings:
            drawings[chart.name] = svg(chart)
        paths.append(folder / f"{chart.name}.png")
        atomic.write_bytes(paths[-1], png(drawings[chart.name]))
    return paths


def export(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Write charts as `NAME.svg`, `NAME.pdf` and `NAME.png`; one with a list to choose from, once for each choice.

    Args:
      charts: any.
      folder: made if it is missing.

    Returns:
      The files.
    """
    paths = []
    for one in (each for chart in charts for each in choices(chart)):
        drawn = svg(one)
        for suffix, content in (("svg", drawn.encode()), ("pdf", pdf(drawn)), ("png", png(drawn))):
            paths.append(folder / f"{one.name}.{suffix}")
            atomic.write_bytes(paths[-1], content)
    return paths


def choices(chart: Chart) -> Iterator[Chart]:
    """A chart for each value of its list; the chart itself where it has none.

    Args:
      chart: with one list at most.

    Returns:
      Charts; the first choice has the chart's own name, the others a number behind it.
    """
    found = next(_lists(chart.spec), None)
    if found is None:
        yield chart
        return
    for place, value in enumerate(found["bind"]["options"]):
        spec = json.loads(json.dumps(chart.spec))
        next(_lists(spec))["value"] = value
        yield replace(chart, spec=spec, name=chart.name if place == 0 else f"{chart.name}-{place + 1}")


def _lists(node: Any) -> Iterator[Any]:
    """The parameters of a specification that a list sets."""
    if isinstance(node, dict):
        if str(node.get("name", "")).startswith(_CHOICE) and "bind" in node:
            yield node
        for value in node.values():
            yield from _lists(value)
    elif isinstance(node, list):
        for value in node:
            yield from _lists(value)
