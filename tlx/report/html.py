"""A report as one HTML file that needs nothing else, for a browser, a phone or paper."""

import re
from importlib.resources import files

import jinja2
from markupsafe import Markup, escape

from tlx import __version__
from tlx.report.canvas import Picture
from tlx.report.page import NOTES, Page
from tlx.report.wording import WORSE


def html(page: Page) -> str:
    """The page as HTML, its pictures and its style inside."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": inline_svg, "tight": _tight}
    template = files("tlx.report").joinpath("template.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(page=page, notes=NOTES, worse=WORSE, version=__version__)


def inline_svg(picture: Picture) -> Markup:
    """A picture's SVG as an element of an HTML page.

    What only a document of its own needs goes: prolog, comments, namespaces, size and style sheet. The ids get
    the picture's name in front, since those of one page must differ.
    """
    svg = picture.svg[picture.svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{picture.name}-', svg)
    svg = re.sub(r'\b(?:xlink:)?href="#', f'href="#{picture.name}-', svg)
    svg = svg.replace("url(#", f"url(#{picture.name}-")
    opening, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[-0-9. ]+"', opening)
    size = view.group() if view else ""
    return Markup(f'<svg {size} role="img" aria-label="{escape(picture.alt)}">{rest}')  # noqa: S704  # matplotlib's own


def _tight(text: str) -> str:
    """Line breaks only before an interval, a note or `to`, so that no number loses its unit on a narrow screen."""
    return re.sub(r" (?!\[|\(\d+ pairs|to )", "\N{NO-BREAK SPACE}", text)
