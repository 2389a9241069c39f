"""What the drawings of leaves and images share: their look."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, FAINT, RULE = "#1a1a1a", "#666666", "#dddddd"
DPI = 200
WIDTH = 5.8  # inches: on a phone's screen the letters stay readable
LINE = 0.2  # inches from one line of text to the next
_LOOK = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a `$` in a name is a dollar
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.fonttype": "path",
}


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A white figure in the common look, untouched by the user's matplotlib settings.

    Args:
      width: inches.
      height: inches.
    """
    with style.context(["default", _LOOK]):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure


def place_axes(figure: Figure, left: float, right: float, bottom: float, top: float) -> Axes:
    """Axes inside margins given in inches."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    wide, tall = 1 - (left + right) / width, 1 - (bottom + top) / height
    return figure.add_axes((left / width, bottom / height, wide, tall))


def text_width(figure: Figure, texts: Iterable[str]) -> float:
    """The width that the longest text needs at 9 points bold, in inches."""
    widest = 0.0
    for text in texts:
        drawn = figure.text(0, 0, text, fontsize=9.0, fontweight="bold")
        widest = max(widest, drawn.get_window_extent().width / figure.dpi)
        drawn.remove()
    return widest


def headline(figure: Figure, title: str, subtitle: str) -> None:
    """A title and a line of small print below it, at the top left."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    figure.text(0.12 / width, 1 - 0.1 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.12 / width, 1 - 0.32 / height, subtitle, fontsize=8.5, color=FAINT, va="top")


def shorten(name: str, most: int = 26) -> str:
    """A name that cannot push everything else off the paper."""
    return name if len(name) <= most else name[: most - 1] + "…"
