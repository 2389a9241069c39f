"""A table of text, for Markdown and HTML alike."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of text, in groups that may have a heading; column 0 names the row."""

    head: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
