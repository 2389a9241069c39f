"""A report as Markdown, for a repository or a pull request."""

import re
from collections.abc import Iterable

from tlx.report.page import NOTES, Page, Section
from tlx.report.table import Table

_SPECIAL = re.compile(r"([\\`*|~]|(?<=\])\()")  # a parenthesis only where it would make a link


def markdown(page: Page) -> str:
    """The page as Markdown, its pictures as links to `figures/NAME.png`."""
    parts = [f"# {_plain(page.study)}", f"**{_plain(page.sentence)}**"]
    parts += [", ".join(f"{_plain(name)}: {_plain(value)}" for name, value in page.facts) + "."]
    for section in page.sections:
        parts += _section(section)
    parts += [_plain(note) for note in NOTES]
    if page.unfinished:
        parts += ["## Missing, failed or diverged", "\n".join(f"- {_plain(line)}" for line in page.unfinished)]
    for title, table in (("Data", page.data), ("Sources", page.sources), ("Environment", page.environment)):
        parts += [f"## {title}", _table(table)]
    parts += ["## Reproduce", "\n".join(f"    {line}" for line in page.command.splitlines())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> Iterable[str]:
    yield f"## {_plain(section.title)}"
    for picture in section.pictures:
        yield f"![{_plain(picture.alt)}](figures/{picture.name}.png)"
    yield _table(section.results)
    yield "### What it costs"
    yield _table(section.costs)


def _table(table: Table) -> str:
    """Numbers to the right; a group's heading is a row of its own."""
    others = len(table.head) - 1
    written = [" | ".join(map(_plain, table.head)), " | ".join([":--", *["--:"] * others])]
    for heading, rows in table.groups:
        if heading:
            written.append(" | ".join([f"**{_plain(heading)}**", *[""] * others]))
        written += [" | ".join(map(_plain, row)) for row in rows]
    return "\n".join(f"| {line} |" for line in written)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    safe = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
