"""A chart: a Vega-Lite specification without its data, and what it becomes on paper."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import vl_convert

from tlx.report.theme import CONFIG

VEGA_LITE = "6.4"
WIDTH = 660  # pixels, of a chart that fills its column, where there is no browser to say
Data = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Chart:
    """A finished chart.

    Args:
      name: file name without suffix, and id in a page.
      title: what it shows, in a few words.
      note: how to read it, and what was left out; may be empty.
      alt: what it shows, for those who cannot see it.
      spec: Vega-Lite, its data named.
      data: rows by the name the specification uses; the same name means the same rows throughout a page.
      panel: least width of one of several panels in pixels, 0 for a chart that fills its column.
      fixed: whether panels keep their width where there is room for more.
    """

    name: str
    title: str
    note: str
    alt: str
    spec: Mapping[str, Any]
    data: Mapping[str, Data]
    panel: int = 0
    fixed: bool = False

    def whole(self) -> dict[str, Any]:
        """The specification with its data."""
        return {**self.spec, "datasets": {name: list(rows) for name, rows in self.data.items()}}


def finished(chart: Any, **rest: Any) -> Chart:
    """A chart of Altair's as ours.

    Altair names views by what has been made before; here they are counted from the chart's first, so that the same
    chart is the same text.

    Args:
      chart: of Altair.
      rest: the other fields of `Chart`.
    """
    spec = chart.to_dict(validate=False)
    names: dict[str, str] = {}
    text = re.sub(r'"view_\w+"', lambda found: names.setdefault(found[0], f'"view_{len(names) + 1}"'), json.dumps(spec))
    spec = json.loads(text)
    del spec["$schema"]  # an address, which a page has no use for
    spec["config"] = CONFIG
    if not rest.get("panel"):
        spec |= {"width": WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}}
    return Chart(spec=spec, **rest)


def svg(chart: Chart) -> str:
    """The chart as an SVG document."""
    return str(vl_convert.vegalite_to_svg(chart.whole(), vl_version=VEGA_LITE))


def png(drawn: str) -> bytes:
    """An SVG document as PNG on white, at twice its size."""
    return bytes(vl_convert.svg_to_png(_on_white(drawn), scale=2))


def pdf(drawn: str) -> bytes:
    """An SVG document as PDF."""
    return bytes(vl_convert.svg_to_pdf(drawn))


@cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as JavaScript that defines `vegaEmbed`."""
    # Its stubs have no default for the snippet.
    return str(vl_convert.javascript_bundle(vl_version=VEGA_LITE))  # type: ignore[call-arg]


def _on_white(drawn: str) -> str:
    opening, rest = drawn.split(">", 1)
    return f'{opening}><rect width="100%" height="100%" fill="white"/>{rest}'
