"""What two sets of examples have in common, as a table, and the closest pairs as pictures or texts."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.data.overlap import Found, Overlap, Pair
from tlx.report import contact, wording

PIPE_WIDTH = 110  # columns when the output is a file or a pipe


def sentence(found: Overlap, ours: str, theirs: str) -> str:
    """The answer in one line.

    Args:
      found: from `tlx.data.overlap`.
      ours: what the first set is called.
      theirs: what the second set is called.
    """
    if not found.near.pairs:
        return f"{theirs} shares nothing with {ours}."
    near, size = found.near.theirs, found.sizes[1]
    exact = f"{found.exact.theirs:,} of them equal" if found.exact.theirs else "none of them equal"
    return (
        f"{near:,} of {size:,} examples of {theirs} ({wording.percent(near / size)}) look like some of {ours}, {exact}."
    )


def show(found: Overlap, ours: str, theirs: str, words: Callable[[Pair], tuple[str, str]] | None = None) -> None:
    """Print what was found.

    Args:
      found: from `tlx.data.overlap`.
      ours: what the first set is called, e.g. `mnist5k train`.
      theirs: what the second set is called.
      words: the texts of a pair, or None for images.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(Text(sentence(found, ours, theirs), style="bold"))
    console.print(counts(found, ours, theirs))
    if found.near.closest:
        console.print(closest(found, ours, theirs, words))


def counts(found: Overlap, ours: str, theirs: str) -> Table:
    """The pairs of either kind, and the examples in them.

    Args:
      found: from `tlx.data.overlap`.
      ours: what the first set is called.
      theirs: what the second set is called.

    Returns:
      For `rich.console.Console.print`.
    """
    made = _table(f"Near: distance up to {found.distance:g}, equal ones among them.")
    made.add_column("")
    for heading in ("Pairs", f"of {found.sizes[0]:,} in {ours}", f"of {found.sizes[1]:,} in {theirs}"):
        made.add_column(Text(heading), justify="right")
    for name, kind in (("equal", found.exact), ("near", found.near)):
        made.add_row(name, *(f"{number:,}" for number in (kind.pairs, kind.ours, kind.theirs)))
    return made


def closest(
    found: Overlap, ours: str, theirs: str, words: Callable[[Pair], tuple[str, str]] | None = None, most: int = 10
) -> Table:
    """The closest pairs, by their positions in the splits.

    Args:
      found: from `tlx.data.overlap`.
      ours: what the first set is called.
      theirs: what the second set is called.
      words: the texts of a pair, or None for images.
      most: how many to show.

    Returns:
      For `rich.console.Console.print`.
    """
    made = _table(_shown(found.near, most))
    made.add_column("Distance", justify="right")
    for heading in (ours, theirs):
        made.add_column(Text(heading), overflow="fold", max_width=46, justify="left" if words else "right")
    for pair in found.near.closest[:most]:
        texts = words(pair) if words else ("", "")
        cells = [f"{place} {text}".rstrip() for place, text in zip((pair.ours, pair.theirs), texts, strict=True)]
        made.add_row(f"{pair.distance:.3g}", *map(Text, cells))
    return made


def draw(found: Overlap, ours: Sequence[np.ndarray], theirs: np.ndarray, title: str) -> Figure:
    """The closest pairs of images, side by side, so that a false alarm is seen.

    Args:
      found: from `tlx.data.overlap`, with at least one pair.
      ours: uint8 [H, W, C], the first image of each of the first pairs of `found.near.closest`.
      theirs: uint8 [pairs, H, W, C], the second images.
      title: e.g. the names of both sets.

    Returns:
      The figure: a row for each pair.
    """
    labels = [f"{pair.ours} | {pair.theirs}" for pair in found.near.closest[: len(ours)]]
    return contact.draw(ours, theirs[:, None], labels, title, headings=("first", "second"))


def _shown(near: Found, most: int) -> str:
    shown = min(most, len(near.closest))
    return f"The closest {shown} of {near.pairs:,} pairs, by their positions." if shown < near.pairs else "All pairs."


def _table(caption: str) -> Table:
    return Table(caption=Text(caption), caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
