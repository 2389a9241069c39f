"""A report as Markdown, for a repository or a pull request."""

from collections.abc import Collection, Iterable

from tlx.report.chart import Chart
from tlx.report.markdown_parts import plain as _plain
from tlx.report.markdown_parts import table as _table
from tlx.report.page import NOTES, Page, StudyPage
from tlx.report.sections import Block

LISTED = 100  # unfinished cells that are listed


def markdown(page: Page, pictures: Collection[str]) -> str:
    """The page as Markdown, its charts as links to `figures/NAME.png`.

    Args:
      page: what it says.
      pictures: names of the charts that have a PNG file.
    """
    parts: list[str] = []
    for study in page.studies:
        parts += _study(study, pictures)
    return "\n\n".join(part for part in parts if part) + "\n"


def _study(study: StudyPage, pictures: Collection[str]) -> Iterable[str]:
    yield f"# {_plain(study.name)}"
    yield f"**{_plain(study.lead)}**"
    yield ", ".join(f"{_plain(name)}: {_plain(value)}" for name, value in study.facts) + "."
    if study.picture:
        yield from _chart(study.picture, pictures)
    yield _table(study.answer)
    yield from map(_plain, NOTES)
    for part in study.parts:
        blocks = [text for block in part.blocks for text in _block(block, pictures)]
        yield from [f"## {_plain(part.title)}", *blocks] if blocks else []
    for pair in study.pairs:
        yield from (f"## {_plain(pair.title)}", _table(pair.results), "### What it costs", _table(pair.costs))
    if study.unfinished:
        lines = [f"- {_plain(one.line())}" for one in study.unfinished[:LISTED]]
        more = len(study.unfinished) - len(lines)
        yield "## Missing, failed or diverged"
        yield "\n".join([*lines, *([f"- and {more} more"] if more else [])])
    if study.refused:
        lines = [f"- {_plain(line)}" for line in study.refused[:LISTED]]
        more = len(study.refused) - len(lines)
        yield "## Pairs without a gain, as more differs than the start"
        yield "\n".join([*lines, *([f"- and {more} more"] if more else [])])
    for title, table in (("Data", study.data), ("Sources", study.sources), ("Environment", study.environment)):
        yield from (f"## {title}", _table(table))
    yield from ("## Reproduce", _code(study.command), "One cell:", _code(f"{study.again}CELL"))


def _block(block: Block, pictures: Collection[str]) -> Iterable[str]:
    if isinstance(block, Chart):
        return _chart(block, pictures)
    return [_plain(block) if isinstance(block, str) else _table(block)]


def _chart(chart: Chart, pictures: Collection[str]) -> Iterable[str]:
    return [f"![{_plain(chart.alt)}](figures/{chart.name}.png)"] if chart.name in pictures else []


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
