"""A report as one HTML file that needs nothing else, for a browser, a phone or paper."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from tlx import __version__
from tlx.report.cell_table import DIGITS, HEAD, Line, written
from tlx.report.chart import Chart, bundle, svg
from tlx.report.page import NOTES, Page, StudyPage
from tlx.report.wording import WORSE

PAGE = 100  # cells on a page of their table; without JavaScript, the only ones that are shown
LISTED = 100  # unfinished cells that are listed; the table has them all
_DRAWN = 4000  # rows of data beyond which a chart is not drawn for readers without JavaScript, too


def html(page: Page, drawings: dict[str, str]) -> str:
    """The page as HTML, its charts, its data, its scripts and its style inside.

    Args:
      page: what it says.
      drawings: SVG by name of chart, of those that are drawn already; the others are added.
    """
    charts = [chart for study in page.studies for chart in study.charts]
    for chart in charts:
        if sum(map(len, chart.data.values())) <= _DRAWN and chart.name not in drawings:
            drawings[chart.name] = svg(chart)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"stacked": _stacked, "embedded": embedded, "said": written}
    environment.tests["chart"] = lambda block: isinstance(block, Chart)
    scripts = [bundle(), _asset("page.js")] if page.studies else []
    return environment.from_string(_asset("page.html.jinja")).render(
        page=page,
        notes=NOTES,
        worse=WORSE,
        version=__version__,
        style=Markup(_asset("page.css")),  # noqa: S704  # ours
        scripts=[Markup(script) for script in scripts],  # noqa: S704  # Vega's and ours
        allowed=" ".join(_hashed(script) for script in scripts),
        drawn={chart.name: inline_svg(chart, drawings[chart.name]) for chart in charts if chart.name in drawings},
        data={name: list(rows) for chart in charts for name, rows in chart.data.items()},
        head=HEAD,
        digits=DIGITS,
        cells=_cells,
        page_size=PAGE,
        listed=LISTED,
    )


def embedded(value: Any) -> Markup:
    """A value as JSON inside a script element, which nothing in it can end."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)  # noqa: S704  # no markup is left in it


def inline_svg(chart: Chart, drawn: str) -> Markup:
    """A chart's SVG as an element of an HTML page.

    What only a document of its own needs goes: namespaces and size. The ids get the chart's name in front, since
    those of one page must differ.
    """
    text = re.sub(r'\bid="', f'id="{chart.name}-', drawn[drawn.index("<svg") :])
    text = re.sub(r'\b(?:xlink:)?href="#', f'href="#{chart.name}-', text)
    text = text.replace("url(#", f"url(#{chart.name}-")
    opening, rest = text.split(">", 1)
    view = re.search(r'viewBox="[-0-9. ]+"', opening)
    size = view.group() if view else ""
    return Markup(f'<svg {size} role="img" aria-label="{escape(chart.alt)}">{rest}')  # noqa: S704  # Vega's own


def _cells(study: StudyPage) -> dict[str, Any]:
    digits = [DIGITS.get(place) for place in range(len(HEAD))]
    rows: Iterable[Line] = study.cells
    return {"digits": digits, "rows": [list(row) for row in rows], "command": study.again}


def _asset(name: str) -> str:
    return files("tlx.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hashed(script: str) -> str:
    """What a policy allows a script by: no other one runs, whatever a name in a config says."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _stacked(text: str) -> Markup:
    """A number, and its interval as an element of its own; other breaks only before a note or `to`."""
    tight = re.sub(r" (?!\[|\(\d+ pairs|to )", "\N{NO-BREAK SPACE}", text)
    number, bracket, interval = tight.partition(" [")
    if not bracket:
        return escape(number)
    return Markup('{} <span class="interval">[{}</span>').format(number, interval)
