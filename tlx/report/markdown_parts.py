"""Text and tables as Markdown shows them."""

import re

from tlx.report.table import Table

_SPECIAL = re.compile(r"([\\`*|~]|(?<=\])\()")  # a parenthesis only where it would make a link


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    safe = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(given: Table) -> str:
    """Numbers to the right; a group's heading is a row of its own."""
    others = len(given.head) - 1
    written = [" | ".join(map(plain, given.head)), " | ".join([":--", *["--:"] * others])]
    for heading, rows in given.groups:
        if heading:
            written.append(" | ".join([f"**{plain(heading)}**", *[""] * others]))
        written += [" | ".join(map(plain, row)) for row in rows]
    return "\n".join(f"| {line} |" for line in written)
